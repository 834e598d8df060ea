"""A pack: many small Binary Files as one object. Contents and their index to bytes, and back.

The contents stand one after the other, then the index, 40 bytes for each of them, and a trailer of 48 bytes. The index is
at the end so that a read from some offset to the end gets it, and so that no connection is cut in the middle of a body.
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
    """Where in a pack a content lies: `length` bytes from `offset` on. `digest` is its BLAKE3, 32 bytes."""

    digest: bytes
    offset: int
    length: int


def encode_pack(contents: Mapping[BinaryId, bytes]) -> tuple[bytes, Sequence[PackEntry]]:
    """Return a pack of these contents in their order, which MUST be below 4 GiB together; and its index."""
    entries, offset = [], 0
    for binary, content in contents.items():
        entries.append(PackEntry(bytes.fromhex(binary), offset, len(content)))
        offset += len(content)
    index = b"".join([_ENTRY.pack(*entry) for entry in entries])
    trailer = _TRAILER.pack(blake3(index).digest(), len(entries), PACK_VERSION, _MAGIC)
    return b"".join([*contents.values(), index, trailer]), entries


def tail_bytes(tail: bytes, size: int, what: str) -> int:
    """Return how many bytes index and trailer have, from the last bytes of a pack of `size` bytes: the trailer or more.

    DamagedError names `what` when that is no pack, or one of an unknown version.
    """
    if len(tail) < TRAILER_BYTES:
        raise DamagedError(f"{what} is damaged: it is too short. Restore it.")
    _, count, version, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    length = int(count) * ENTRY_BYTES + TRAILER_BYTES
    if magic != _MAGIC:
        raise DamagedError(f"{what} is damaged: it does not end as a pack does. Restore it.")
    if version != PACK_VERSION:
        raise DamagedError(f"{what} is of format version {version}, and this release reads {PACK_VERSION}. Update it.")
    if length > size:
        raise DamagedError(f"{what} is damaged: its index says more than it can hold. Restore it.")
    return length


def decode_index(tail: bytes, size: int, what: str) -> Sequence[PackEntry]:
    """Read the index of a pack of `size` bytes from its last bytes, `tail_bytes` of them or more.

    DamagedError when it is not what was written.
    """
    length = tail_bytes(tail, size, what)
    index = tail[-length:-TRAILER_BYTES]
    digest, *_ = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    if len(index) != length - TRAILER_BYTES or blake3(index).digest() != digest:
        raise DamagedError(f"{what} is damaged: its index has another digest. Restore it.")
    entries = [PackEntry(*fields) for fields in _ENTRY.iter_unpack(index)]
    if any(entry.offset + entry.length > size - length for entry in entries):
        raise DamagedError(f"{what} is damaged: its index names bytes that it does not have. Restore it.")
    return entries
