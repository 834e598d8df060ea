"""Opening entries below a root, component by component, so that no symbolic link on the way is followed.

No descriptor is kept per level: a path may have more levels than a process may open files, and exceed PATH_MAX.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def open_file(root_fd: int, path: bytes) -> int:
    """Open the entry at `path` below the root for reading. The caller checks that it is a regular file."""
    parent, _, name = path.rpartition(b"/")
    with directory(root_fd, parent) as parent_fd:
        return os.open(name, _FILE, dir_fd=parent_fd)
