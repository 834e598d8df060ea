"""Directories whose names survive the loss of power."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive the loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableDirectories:
    """Makes directories below `root`, and syncs each one's parent once.

    Also the parents of directories that are there already: another process may have made them a moment ago.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def make_root(self) -> None:
        """Return when `root` exists for good."""
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for path in missing:
            sync_directory(path.parent)
        self._durable.add(self._root)

    def make(self, directory: Path) -> None:
        """Return when `directory`, which is below `root`, exists for good."""
        if directory in self._durable:
            return
        directory.mkdir(parents=True, exist_ok=True)
        path = directory
        while path not in self._durable:
            sync_directory(path.parent)
            self._durable.add(path)
            path = path.parent
