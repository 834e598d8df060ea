"""A directory tree as entries in key order, without following links and without holding the tree in memory.

The order is that of whole paths as bytes, not of a walk that sorts each directory by name: `/` sorts after `-`, so `a-b`
comes between the directory `a` and `a/x`. Therefore a directory gives two items to sort among its siblings: `a`, its own
record, and `a/`, everything below it. No path of a sibling begins with `a/`, so the paths below are consecutive.

Memory holds one list of names for each level of the current path. An entry is examined only when its turn comes.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pipeline.connectors.files.attributes import Items
from pipeline.connectors.files.directories import directory, open_directory
from pipeline.connectors.files.errors import GONE, UnreadableEntryError, entry_errors
from pipeline.connectors.files.names import MAX_PATH_BYTES, MAX_PATH_SEGMENTS, shown
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.log_events import log

_SLASH = ord("/")
_ENCODING, _ENCODING_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_SPECIAL = ((stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"))


class Kind(StrEnum):
    """The kind of an entry."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class Entry(NamedTuple):
    """One entry at the moment it was examined. `target` is the text of a symbolic link, None for other kinds."""

    path: bytes
    kind: Kind
    status: os.stat_result
    target: bytes | None = None


_DIRECTORY, _SYMLINK = Kind.DIRECTORY, Kind.SYMLINK  # a name is faster than an attribute of an enumeration
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}


@dataclass(frozen=True, slots=True)
class Unread:
    """Paths from `first` on and before `end` that cannot be read, and why."""

    first: bytes
    end: bytes
    reason: str


class _Level:
    """A directory of the current path: the `names` still to come, the `directories` below while it is the innermost."""

    def __init__(self, root_fd: int, prefix: bytes, excluded: frozenset[bytes]) -> None:
        self.prefix = prefix
        self._root_fd = root_fd
        self._fd: int | None = None
        self.names, self.directories = _listed(root_fd, prefix, excluded)

    def fd(self) -> int:
        if self._fd is None:
            self._fd = open_directory(self._root_fd, self.prefix.rstrip(b"/"))
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def skip_below(self, name: bytes) -> None:
        """Skip everything below `name`, which was not a directory when its turn came."""
        self.directories.discard(name + b"/")

    def is_directory(self, name: bytes) -> bool:
        return name in self.directories


class Omitted:
    """What a walk found and an entry does not tell: special files, names that share a file, mount points left out."""

    def __init__(self) -> None:
        why_special = "it is no file with a content: create it at the destination, or let its program create it"
        self._special = {kind: Items(kind, Fate.NOT_MOVED, why_special) for kind in ("device", "fifo", "socket")}
        self._links = Items("hard link", Fate.OTHER_FORM, "each name is a file of its own at the destination")
        self.user = os.geteuid()
        self._owners: Counter[int] = Counter()
        self._mounts = Items("mount point", Fate.NOT_MOVED, "what is on other file systems was left out on request")

    def add_special(self, path: bytes, kind: str) -> None:
        """Note a special file."""
        self._special[kind].add(shown(path))
        log.warning("special_file_skipped", path=shown(path), kind=kind, skipped=sum(map(len, self._special.values())))

    def add(self, entry: Entry) -> None:
        """Note the owner of an entry if it is another user, and a file that has other names."""
        if entry.status.st_uid != self.user:
            self._owners[entry.status.st_uid] += 1
        if entry.kind is Kind.FILE and entry.status.st_nlink > 1:
            self._links.add(shown(entry.path))

    def add_mount(self, path: bytes) -> None:
        """Note a mount point."""
        self._mounts.add(shown(path))

    def items(self) -> Sequence[InventoryItem]:
        """Return all as items of an inventory. The owner who reads the tree is not named: many trees have no other."""
        owners = Items("owner", Fate.NOT_MOVED, "the copies belong to the user who runs the pipeline")
        for uid, count in sorted(self._owners.items()):
            owners.add(f"{_user(uid)} with {count:,} {'entry' if count == 1 else 'entries'}")
        return [item for items in (*self._special.values(), self._links, self._mounts, owners) for item in items.all()]


class Unnoted(Omitted):
    """Notes nothing, and writes nothing to the log: for a second walk."""

    def add_special(self, path: bytes, kind: str) -> None: ...

    def add(self, entry: Entry) -> None: ...

    def add_mount(self, path: bytes) -> None: ...


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def walk(
    root_fd: int, omitted: Omitted, *, excluded: frozenset[bytes] = frozenset(), one_file_system: bool = False
) -> Generator[Entry | Unread, None, None]:
    """Yield every file, directory and symbolic link below the root, in the order of `keys.order` of their paths.

    `excluded` are paths to skip with everything below them; with `one_file_system` a mount point is empty. An entry that
    vanishes before its turn is left out.
    `omitted` notes what is left out. In the place of paths that cannot be read come `Unread`.
    """
    levels = [_Level(root_fd, b"", excluded)]
    device, user = os.fstat(root_fd).st_dev, omitted.user
    try:
        while levels:
            level = levels[-1]
            if not level.names:
                levels.pop().close()
                continue
            name = level.names.pop()
            if name[-1] == _SLASH:
                if level.is_directory(name):
                    level.close()
                    below = level.prefix + name
                    try:
                        levels.append(_level_below(root_fd, below, excluded, len(levels)))
                    except UnreadableEntryError as error:
                        yield Unread(
                            below, below[:-1] + b"0", f"{error}; what lies below it is left as it was"
                        )  # "0" follows "/"
            else:
                try:
                    entry = _examine(level, name)
                except UnreadableEntryError as error:
                    yield Unread(level.prefix + name, level.prefix + name + b"\0", str(error))
                    continue
                if not isinstance(entry, Entry):
                    level.skip_below(name)
                    if entry is not None:
                        omitted.add_special(level.prefix + name, entry)
                    continue
                status = entry.status
                if entry.kind is not _DIRECTORY:
                    if level.directories:
                        level.skip_below(name)
                elif one_file_system and status.st_dev != device:
                    level.skip_below(name)
                    omitted.add_mount(entry.path)
                if status.st_uid != user or status.st_nlink > 1:  # most entries need no call
                    omitted.add(entry)
                yield entry
    finally:
        for level in levels:
            level.close()


def _level_below(root_fd: int, prefix: bytes, excluded: frozenset[bytes], depth: int) -> _Level:
    """Enter a directory. Paths below it that no destination takes would cost more with each level, without an end."""
    if depth >= MAX_PATH_SEGMENTS or len(prefix) >= MAX_PATH_BYTES:
        raise UnreadableEntryError(
            f"the directory {shown(prefix.rstrip(b'/'))!r}: paths below it have more than {MAX_PATH_SEGMENTS:,} segments or "
            f"{MAX_PATH_BYTES:,} bytes; move it further up, then run the command again"
        )
    return _Level(root_fd, prefix, excluded)


def _listed(root_fd: int, prefix: bytes, excluded: frozenset[bytes]) -> tuple[list[bytes], set[bytes]]:
    """Return the items of a directory, last first, and those that stand for the contents of a subdirectory.

    Both are empty when the directory itself is gone.
    """
    path = prefix.rstrip(b"/")
    names: list[bytes] = []
    directories: set[bytes] = set()
    with entry_errors("the directory", path):
        try:
            with directory(root_fd, path) as fd, os.scandir(fd) as entries:
                for entry in entries:  # kept as bytes alone: a directory may have millions
                    names.append(entry.name.encode(_ENCODING, _ENCODING_ERRORS))
                    if entry.is_dir(follow_symlinks=False):
                        directories.add(names[-1] + b"/")
        except OSError as error:
            if error.errno in GONE:
                return [], set()
            raise
    if hidden := {path[len(prefix) :] for path in excluded if path.startswith(prefix)}:
        names = [name for name in names if name not in hidden]
        directories -= {name + b"/" for name in hidden}
    names.extend(directories)
    names.sort(reverse=True)
    return names, directories


def _examine(level: _Level, name: bytes) -> Entry | str | None:
    """Return the entry; the kind of a special file, which cannot be moved; None when it is gone."""
    path = level.prefix + name
    try:
        fd = level.fd()
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is not None:
            target = os.readlink(name, dir_fd=fd) if kind is _SYMLINK else None
            return Entry(path, kind, status, target)
    except OSError as error:
        if error.errno in GONE:
            return None
        with entry_errors("the entry", path):
            raise
    return next((kind for test, kind in _SPECIAL if test(status.st_mode)), "device")
