"""Creates directories whose names survive a power failure."""

from __future__ import annotations

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
