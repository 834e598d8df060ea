"""Creates directories whose names survive a power failure, and removes empty ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableDirectories:
    """Creates directories below `root`, and syncs the parent of each once.

    It syncs the parents of existing directories, too: another process may have just created them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def make_root(self) -> None:
        """Create `root` durably."""
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for path in missing:
            sync_directory(path.parent)
        self._durable.add(self._root)

    def make(self, directory: Path) -> None:
        """Create `directory`, which is below `root`, durably."""
        if directory in self._durable:
            return
        directory.mkdir(parents=True, exist_ok=True)
        path = directory
        while path not in self._durable:
            sync_directory(path.parent)
            self._durable.add(path)
            path = path.parent

    def forget(self, directory: Path) -> None:
        """Let `make` create `directory` and those above it again: another process has removed some of them."""
        self._durable -= {directory, *directory.parents} - {self._root, *self._root.parents}

    def remove_empty(self, directory: Path, top: Path) -> None:
        """Remove `directory` and those above it, up to `top`, which stays, as far as they are empty."""
        while directory != top:
            try:
                directory.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise
                return
            self._durable.discard(directory)
            directory = directory.parent
