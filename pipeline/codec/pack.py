"""Packs: many small Binary Files in one object.

A pack is the contents one after the other, an index of 40 bytes a content, and a trailer of 48 bytes. The index is at
the end, where one ranged read without an upper bound gets it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from blake3 import blake3

from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import BinaryId

_ENTRY = struct.Struct("<32sII")
_TRAILER = struct.Struct("<32sII8s")
_MAGIC = b"binpack\n"

PACK_VERSION = 1
ENTRY_BYTES = _ENTRY.size
TRAILER_BYTES = _TRAILER.size


class PackEntry(NamedTuple):
    """A content of a pack: `length` bytes from `offset` on. `digest` is its BLAKE3 digest, 32 bytes."""

    digest: bytes
    offset: int
    length: int


def encode_pack(contents: Mapping[BinaryId, bytes]) -> tuple[bytes, Sequence[PackEntry]]:
    """Return a pack of these contents, and its index. Together they MUST be smaller than 4 GiB."""
    entries, offset = [], 0
    for binary, content in contents.items():
        entries.append(PackEntry(bytes.fromhex(binary), offset, len(content)))
        offset += len(content)
    index = b"".join([_ENTRY.pack(*entry) for entry in entries])
    trailer = _TRAILER.pack(blake3(index).digest(), len(entries), PACK_VERSION, _MAGIC)
    return b"".join([*contents.values(), index, trailer]), entries


def tail_bytes(tail: bytes, size: int, what: str) -> int:
    """Return the size of index and trailer. `tail` is the end of a pack of `size` bytes, with the trailer at least.

    DamagedError names `what` when it is not a pack, or of an unknown version.
    """
    if len(tail) < TRAILER_BYTES:
        raise DamagedError(f"{what} is damaged: it is too short. Restore it.")
    _, count, version, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    length = int(count) * ENTRY_BYTES + TRAILER_BYTES
    if magic != _MAGIC:
        raise DamagedError(f"{what} is damaged: it does not end like a pack. Restore it.")
    if version != PACK_VERSION:
        raise DamagedError(
            f"{what} has format version {version}; this release reads version {PACK_VERSION}. Use a newer release."
        )
    if length > size:
        raise DamagedError(f"{what} is damaged: its index is larger than the pack. Restore it.")
    return length


def decode_index(tail: bytes, size: int, what: str) -> Sequence[PackEntry]:
    """Return the index of a pack of `size` bytes. `tail` is the end of the pack, at least `tail_bytes` of it.

    DamagedError when it was altered.
    """
    length = tail_bytes(tail, size, what)
    index = tail[-length:-TRAILER_BYTES]
    digest, *_ = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    if len(index) != length - TRAILER_BYTES or blake3(index).digest() != digest:
        raise DamagedError(f"{what} is damaged: its index has another digest. Restore it.")
    entries = [PackEntry(*fields) for fields in _ENTRY.iter_unpack(index)]
    if any(entry.offset + entry.length > size - length for entry in entries):
        raise DamagedError(f"{what} is damaged: its index points outside of it. Restore it.")
    return entries
