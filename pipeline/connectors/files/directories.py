"""Opening what lies below a root, component by component, so that no symbolic link is ever followed on the way.

No descriptor is kept per level: a path may be deeper than a process may have files open, and longer than PATH_MAX.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a fifo that took a file's place would wait for a writer for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_root(root: Path) -> int:
    """Open the root itself, which MAY be a symbolic link: a person named it."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_directory(root_fd: int, path: bytes) -> int:
    """Open the directory at `path` below the root (`b""` is the root). OSError ENOTDIR or ELOOP where a link stands."""
    # Not a duplicate: those share one position, and two threads that list the root would each see half of it.
    fd = os.open(b".", _DIRECTORY, dir_fd=root_fd)
    try:
        for name in path.split(b"/") if path else ():
            parent_fd, fd = fd, -1
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
            finally:
                os.close(parent_fd)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    return fd


@contextmanager
def directory(root_fd: int, path: bytes) -> Iterator[int]:
    """Hold the directory at `path` below the root open."""
    fd = open_directory(root_fd, path)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(root_fd: int, path: bytes) -> int:
    """Open what is at `path` below the root for reading; the caller checks that it is a regular file."""
    parent, _, name = path.rpartition(b"/")
    with directory(root_fd, parent) as parent_fd:
        return os.open(name, _FILE, dir_fd=parent_fd)
