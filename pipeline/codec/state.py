"""Snapshot state: the keys and row hashes of a stream at its last export, as bytes.

A state object is a head line (JSON, the stream's schema) followed by range frames. A part describes the range of one
Event File and holds range frames only. A frame is a line of JSON (`until`, `rows`, the byte length of the packed keys,
a `check`, optionally the `digest` of the rows), then the keys as zstd-compressed JSON, then the row hashes, which are
random and do not compress. The check covers bound, keys and hashes, because an altered state would hide deletes. It
does not cover the digest: an altered digest matches no rows, so they are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import orjson
from msgspec import Struct
from xxhash import xxh3_64

from pipeline.codec.event_files.compression import Decoder, compress_frame
from pipeline.codec.event_files.header import decode_schema, schema_to_json
from pipeline.codec.values import key_from_json, key_to_json, to_json
from pipeline.codec.wire import PARSE_ERRORS, Count, check_version, damaged, damaged_as, parsing, to_document
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema

_MAX_FRAME_LINE_BYTES = 64 * 1024 * 1024
_MAX_RANGE_BYTES = 256 * 1024 * 1024
"""The size limit of a range, packed or not: it is read into memory as a whole."""


class _Head(Struct, omit_defaults=True):
    """The line of a frame. `keys` is the byte length of the packed keys; earlier releases wrote no `check`."""

    until: list[Any]
    rows: Count
    keys: Count
    check: str | None = None
    digest: str | None = None


def encode_range(until: Key, keys: Sequence[Key], hashes: bytes, digest: bytes | None = None) -> bytes:
    """Return one frame."""
    packed = compress_frame(_pack_keys(keys), 1)
    bound = key_to_json(until)
    check = _check(bound, packed, hashes)
    head = _Head(bound, len(keys), len(packed), check, None if digest is None else digest.hex())
    return b"".join([msgspec.json.encode(head), b"\n", packed, hashes])


def _check(until: object, packed: bytes, hashes: bytes) -> str:
    hasher = xxh3_64(orjson.dumps(until))
    hasher.update(packed)
    hasher.update(hashes)
    return hasher.hexdigest()


def encode_stored(part: StateRange) -> bytes:
    """Return the frame of a range; the frame as it was read, where there is one."""
    return part.stored or encode_range(part.until, part.load_keys(), part.hashes, part.digest)


def _pack_keys(keys: Sequence[Key]) -> bytes:
    """Return the keys as JSON. Floats are converted one by one, because orjson writes infinities as null."""
    if float in set(map(type, chain.from_iterable(keys))):
        return orjson.dumps([key_to_json(key) for key in keys])
    return orjson.dumps(keys, default=to_json, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _unpack_keys(packed: bytes, rows: int, what: str) -> list[Key]:
    with parsing(what):
        data = _unpacked(packed)
        keys = orjson.loads(data)
        if not isinstance(keys, list) or len(keys) != rows:
            raise DamagedError("a range does not hold the keys it says")
        if b"{" in data or data.count(b"[") != rows + 1 or not set(map(type, keys)) <= {list}:
            return [key_from_json(key) for key in keys]  # there may be tagged values
        return list(map(tuple, keys))


def _unpacked(packed: bytes) -> bytes:
    pieces, size = [], 0
    for piece in Decoder(Encoding.ZSTD).feed(packed):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_RANGE_BYTES:
            raise DamagedError(f"the keys of a range exceed {_MAX_RANGE_BYTES:,} bytes")
    return b"".join(pieces)


def encode_state_head(schema: StreamSchema) -> bytes:
    """Return the first line of a state object."""
    return orjson.dumps(to_document(schema_to_json(schema)), option=orjson.OPT_APPEND_NEWLINE)


def decode_state_head(line: bytes, what: str) -> StreamSchema:
    """Read the first line of a state object. DamagedError names `what`."""
    check_version(line, what)
    return decode_schema(line, what)


_DECODER = msgspec.json.Decoder(_Head)


class StateReader:
    """Reads frames, piece by piece; with `headed`, the head line of a state object before them."""

    def __init__(self, *, headed: bool, what: str) -> None:
        self._headed = headed
        self._what = what
        self._buffer = bytearray()
        self.schema: StreamSchema | None = None

    def feed(self, data: bytes) -> Iterator[StateRange]:
        """Yield the ranges that `data` completes. DamagedError when one is not as it was written."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            if self._headed and self.schema is None:
                self.schema = decode_state_head(line, self._what)
                del self._buffer[: end + 1]
                continue
            try:
                part = self._frame(_DECODER.decode(line), end + 1)
            except PARSE_ERRORS as error:
                raise damaged(self._what, error) from error
            if part is None:
                return
            yield part
        if len(self._buffer) > _MAX_FRAME_LINE_BYTES:
            raise damaged_as(self._what, f"is damaged: it holds no frame within {_MAX_FRAME_LINE_BYTES:,} bytes")

    def close(self) -> None:
        """Raise DamagedError when the bytes ended within a frame."""
        if self._buffer or (self._headed and self.schema is None):
            raise damaged_as(self._what, "is truncated")

    def _frame(self, head: _Head, start: int) -> StateRange | None:
        rows, length = head.rows, head.keys
        end = start + length + rows * HASH_BYTES
        if end - start > _MAX_RANGE_BYTES:
            raise DamagedError(f"a range claims {end - start:,} bytes; the limit is {_MAX_RANGE_BYTES:,}")
        if len(self._buffer) < end:
            return None
        packed = bytes(self._buffer[start : start + length])
        hashes = bytes(self._buffer[start + length : end])
        stored = bytes(self._buffer[:end])
        del self._buffer[:end]
        until = key_from_json(head.until)
        if head.check is not None and head.check != _check(head.until, packed, hashes):
            raise DamagedError("a range is altered: it does not match its check")
        load_keys = partial(_unpack_keys, packed, rows, self._what)
        return StateRange(until, hashes, load_keys, stored, None if head.digest is None else bytes.fromhex(head.digest))
