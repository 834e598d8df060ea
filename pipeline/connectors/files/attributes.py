"""What an entry has beside a row's plain columns, and what becomes of it at a destination.

A set-uid or set-gid bit lends the rights of the owner to everybody who runs the file. Owners are not carried over, so such
a bit is kept only where the copy has the owner that the source's file has. Access control lists, capabilities, extended
attributes and file flags are not carried over. A row names those of its entry, and the destination reports them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import repeat

import orjson

from pipeline.domain.inventory import NAMED_ITEMS, Fate, InventoryItem

SET_ID = stat.S_ISUID | stat.S_ISGID
REASONS = {
    "set-uid bit": "the copy belongs to another user, in whose name it would run",
    "set-gid bit": "the copy belongs to another group, with whose rights it would run",
    "access control list": "only the permissions of owner, group and others are moved",
    "capability": "capabilities of files are not moved: set them with setcap",
    "extended attribute": "extended attributes are not moved",
    "file flag": "flags of a file system are not moved: set them with chattr",
}
"""Why an attribute of this kind is not moved."""

_ACL, _DEFAULT_ACL, _CAPABILITY = "system.posix_acl_access", "system.posix_acl_default", "security.capability"
_KINDS = {_ACL: "access control list", _DEFAULT_ACL: "access control list", _CAPABILITY: "capability"}
_OF_EVERY_FILE = frozenset({"security.selinux", "security.ima", "security.evm", "system.nfs4_acl"})
"""Set on each file by the system itself, by the rules of this machine."""

_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, <linux/fs.h>
_FLAGS = {0x10: "immutable", 0x20: "append only"}
_LONG = struct.Struct("@L")
_ACL_ENTRY = struct.Struct("<HHI")  # tag, permissions, id: <linux/posix_acl_xattr.h>, after a version of 4 bytes
_GROUP_OBJ, _MASK = 0x04, 0x10


@dataclass(frozen=True, slots=True)
class Attributes:
    """`uid` and `gid` are given with a set-uid or set-gid bit only. `names` are of extended attributes and flags."""

    uid: int | None = None
    gid: int | None = None
    names: tuple[str, ...] = ()

    def to_json(self) -> str | None:
        """Return the value of the column `attributes`."""
        return None if self == NONE else orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> Attributes:
        """Return the attributes in a value of the column. ValueError when it is not one."""
        match orjson.loads(text):
            case {"uid": int() | None as uid, "gid": int() | None as gid, "names": list(names)}:
                return cls(uid, gid, tuple(str(name) for name in names))
            case _:
                raise ValueError("attributes must be an object with uid, gid and names")

    def not_moved(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and name of each extended attribute and flag."""
        for name in self.names:
            yield ("file flag" if name in _FLAGS.values() else _KINDS.get(name, "extended attribute")), name


NONE = Attributes()


def read_attributes(fd: int, status: os.stat_result) -> tuple[int, Attributes]:
    """Return the permission bits that a copy of an open file or directory may have, and what the copy lacks.

    With an access control list the group's bits in the status are those of the mask. A copy that had them would let the
    owning group do what only others in the list may.
    """
    names = [name for name in _extended(fd) if name not in _OF_EVERY_FILE]
    flags = _flags(fd)
    mode = stat.S_IMODE(status.st_mode)
    if not names and not flags and not mode & SET_ID:
        return mode, NONE  # nearly every file
    if _ACL in names:
        mode = mode & ~stat.S_IRWXG | _group_bits(os.getxattr(fd, _ACL))
    uid, gid = (status.st_uid, status.st_gid) if mode & SET_ID else (None, None)
    return mode, Attributes(uid, gid, (*names, *flags))


def _extended(fd: int) -> Sequence[str]:
    if sys.platform == "linux":
        with suppress(OSError):  # this file system has none
            return os.listxattr(fd)
    return ()


def _flags(fd: int) -> Sequence[str]:
    if sys.platform == "linux":
        with suppress(OSError):  # this file system has none
            (found,) = _LONG.unpack(fcntl.ioctl(fd, _GET_FLAGS, bytes(_LONG.size)))
            return [name for bit, name in _FLAGS.items() if found & bit]
    return ()


def _group_bits(acl: bytes) -> int:
    """Return what an access control list lets the owning group do, as bits of a mode."""
    permissions: dict[int, int] = {tag: bits for tag, bits, _ in _ACL_ENTRY.iter_unpack(acl[4:])}
    return (permissions[_GROUP_OBJ] & permissions.get(_MASK, 7)) << 3


def kept_mode(mode: int, attributes: Attributes, status: os.stat_result) -> int:
    """Return the permission bits for an entry with this status: set-uid and set-gid only where the owner is the same."""
    if attributes.uid != status.st_uid:
        mode &= ~stat.S_ISUID
    return mode if attributes.gid == status.st_gid else mode & ~stat.S_ISGID


def lost_bits(mode: int, kept: int) -> Iterator[tuple[str, str]]:
    """Yield the kind of each bit of `mode` that is not in `kept`, with an empty name."""
    lost = mode & ~kept
    if lost & stat.S_ISUID:
        yield "set-uid bit", ""
    if lost & stat.S_ISGID:
        yield "set-gid bit", ""


class Items:
    """Inventory items of one kind and fate: the first `NAMED_ITEMS` by name, the others without, as one item each."""

    def __init__(self, kind: str, fate: Fate, reason: str) -> None:
        self._kind, self._fate, self._reason = kind, fate, reason
        self._names: list[str] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, name: str) -> None:
        """Add an item."""
        self._count += 1
        if self._count <= NAMED_ITEMS:
            self._names.append(name)

    def all(self) -> Iterator[InventoryItem]:
        """Yield the items."""
        for name in self._names:
            yield InventoryItem(self._kind, name, self._fate, self._reason)
        yield from repeat(InventoryItem(self._kind, "…", self._fate, self._reason), self._count - len(self._names))
