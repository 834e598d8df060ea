"""Opening entries below a root, component by component, so that no symbolic link on the way is followed.

No descriptor is kept per level: a path may have more levels than a process may open files, and exceed PATH_MAX.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a fifo that has replaced a file would block until a process writes to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Close the descriptor at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def open_root(root: Path) -> int:
    """Open the root itself, which MAY be a symbolic link: the user named it."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_child(parent_fd: int, name: bytes) -> int:
    """Open the directory `name` in an open directory. OSError ENOTDIR or ELOOP for a symbolic link."""
    return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def open_directory(root_fd: int, path: bytes) -> int:
    """Open the directory at `path` below the root (`b""` is the root). OSError as with `open_child`."""
    # Not a duplicate of root_fd: duplicates share one position, and two threads that list the root would each see half.
    fd = open_child(root_fd, b".")
    for name in path.split(b"/") if path else ():
        with closing_fd(fd) as parent_fd:
            fd = open_child(parent_fd, name)
    return fd


@contextmanager
def directory(root_fd: int, path: bytes) -> Iterator[int]:
    """Hold the directory at `path` below the root open."""
    with closing_fd(open_directory(root_fd, path)) as fd:
        yield fd


def from_outside(path: bytes) -> Iterator[bytes]:
    """Yield the directories that lead to `path`, without the root, from the outside inwards, and `path` itself."""
    end = path.find(b"/")
    while end >= 0:
        yield path[:end]
        end = path.find(b"/", end + 1)
    if path:
        yield path


class Parents:
    """Opens the directories in which entries are, and keeps the last one open: entries of one directory follow each other.

    Use it as a context manager, in one thread, and for a short time: a directory that is moved stays open.
    """

    def __init__(self, root_fd: int, open_: Callable[[int, bytes], int] = open_directory) -> None:
        """`open_` opens a directory below the root."""
        self._root_fd = root_fd
        self._open = open_
        self._path = b""
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of the directory of the entry at `path`, valid until the next call, and the entry's name."""
        parent, _, name = path.rpartition(b"/")
        if self._fd is None or parent != self._path:
            self.close()
            self._fd, self._path = self._open(self._root_fd, parent), parent
        return self._fd, name

    def close(self) -> None:
        """Close the last one; the next call opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def open_file(parents: Parents, path: bytes) -> int:
    """Open the entry at `path` below the root for reading. The caller checks that it is a regular file."""
    parent_fd, name = parents.of(path)
    return os.open(name, _FILE, dir_fd=parent_fd)
