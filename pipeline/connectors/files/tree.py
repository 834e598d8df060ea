"""A directory tree as entries in key order, without following links and without holding the tree in memory.

The order is that of whole paths as bytes. It is not the order of a walk that sorts each directory by name: `/` sorts
after `-` and before `0`, so `a-b` stands between the directory `a` and `a/x`. Here a directory gives two items to
sort among its siblings: `a`, its own record, and `a/`, all that is below it. Every path below starts with `a/` and no
path of a sibling does, so what is below is one unbroken stretch of the order, and `a/` has its place.

In memory is one list of names for each level of the present path. The order of those lists is all that is remembered
of a directory; what an entry is, is looked at when its turn comes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum

import structlog

from pipeline.connectors.files.directories import directory, open_directory
from pipeline.connectors.files.errors import GONE, translate
from pipeline.connectors.files.names import shown

_log = structlog.get_logger(__name__)
_SPECIAL = ((stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "block device"))


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was looked at. `target` is a symbolic link's text, None for everything else."""

    path: bytes
    kind: Kind
    status: os.stat_result
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Special:
    """A socket, fifo or device: nothing that can be moved."""

    path: bytes
    kind: str


class _Level:
    """A directory on the present path: the names still to come, and its descriptor while it is the innermost."""

    def __init__(self, root_fd: int, prefix: bytes, excluded: frozenset[bytes]) -> None:
        self.prefix = prefix
        self._root_fd = root_fd
        self._fd: int | None = None
        self._names, self._below = _listed(root_fd, prefix, excluded)

    def next_name(self) -> bytes | None:
        return self._names.pop() if self._names else None

    def fd(self) -> int:
        if self._fd is None:
            self._fd = open_directory(self._root_fd, self.prefix.rstrip(b"/"))
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def bar(self, name: bytes) -> None:
        """See to it that nothing follows below `name`, which was no directory when its turn came."""
        self._below.discard(name + b"/")

    def is_open(self, name: bytes) -> bool:
        return name in self._below


def walk(root_fd: int, *, excluded: frozenset[bytes] = frozenset()) -> Generator[Entry, None, None]:
    """Give every file, directory and symbolic link below the root, in the order of `keys.order` of their paths.

    `excluded` are paths that are passed over with all below them. What vanishes before its turn is not there. A
    socket, fifo or device is passed over with the log event `special_file_skipped`. RefusedError names what may not
    be read.
    """
    levels = [_Level(root_fd, b"", excluded)]
    skipped = 0
    try:
        while levels:
            level = levels[-1]
            name = level.next_name()
            if name is None:
                levels.pop().close()
            elif name.endswith(b"/"):
                if level.is_open(name):
                    level.close()
                    levels.append(_Level(root_fd, level.prefix + name, excluded))
            else:
                entry = _look(level, name)
                if not isinstance(entry, Entry) or entry.kind is not Kind.DIRECTORY:
                    level.bar(name)
                if isinstance(entry, _Special):
                    skipped += 1
                    _log.warning("special_file_skipped", path=shown(entry.path), kind=entry.kind, skipped=skipped)
                elif entry is not None:
                    yield entry
    finally:
        for level in levels:
            level.close()


def _listed(root_fd: int, prefix: bytes, excluded: frozenset[bytes]) -> tuple[list[bytes], set[bytes]]:
    """The items of a directory, last first, and those of them that stand for what is below a directory in it.

    Nothing when the directory itself is no longer there.
    """
    path = prefix.rstrip(b"/")
    names: list[bytes] = []
    below: set[bytes] = set()
    try:
        with directory(root_fd, path) as fd, os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if prefix + name in excluded:
                    continue
                names.append(name)
                if entry.is_dir(follow_symlinks=False):
                    below.add(name + b"/")
    except OSError as error:
        if error.errno in GONE:
            return [], set()
        raise translate(error, f"the directory {shown(path)!r}") from error
    names.extend(below)
    names.sort(reverse=True)
    return names, below


def _look(level: _Level, name: bytes) -> Entry | _Special | None:
    path = level.prefix + name
    try:
        fd = level.fd()
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return Entry(path, Kind.FILE, status)
        if stat.S_ISDIR(status.st_mode):
            return Entry(path, Kind.DIRECTORY, status)
        if stat.S_ISLNK(status.st_mode):
            return Entry(path, Kind.SYMLINK, status, os.readlink(name, dir_fd=fd))
    except OSError as error:
        if error.errno in GONE:
            return None
        raise translate(error, f"the entry {shown(path)!r}") from error
    return _Special(path, next((kind for test, kind in _SPECIAL if test(status.st_mode)), "device"))
