"""Snapshot state: what the last export saw of a stream, as bytes.

A state object is a head line (JSON, the stream's schema) and then range frames. A part, which describes the range of one
Event File, has range frames only. A frame is a line of JSON (`until`, `rows`, the byte length of the packed keys, a
`check` over all of it, and perhaps the `digest` of the rows), the keys as zstd-compressed JSON, and the row hashes as
they are: they are random, and compress to nothing less. A state that was altered would have rows stay that were deleted;
so each frame is checked. The digest is left out of the check: one that is altered agrees with no rows, which are then
compared one by one, and releases that know of no digests read the frame as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import orjson
from xxhash import xxh3_64

from pipeline.codec.documents.flow import PARSE_ERRORS, get_uint, invalid_document, reading
from pipeline.codec.event_files.compression import ZstdDecoder, compress_frame
from pipeline.codec.event_files.header import schema_from_json, schema_to_json
from pipeline.codec.values import key_from_json, key_to_json, parse_line, to_json
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema

_MAX_FRAME_LINE_BYTES = 64 * 1024 * 1024
_MAX_RANGE_BYTES = 256 * 1024 * 1024
"""The most that a range may hold, packed or not: it is read into memory as a whole."""


def encode_range(until: Key, keys: Sequence[Key], hashes: bytes, digest: bytes | None = None) -> bytes:
    """Return one frame."""
    packed = compress_frame(_pack_keys(keys), 1)
    bound = key_to_json(until)
    check = _check(bound, packed, hashes)
    head = {"until": bound, "rows": len(keys), "keys": len(packed), "check": check}
    if digest is not None:
        head["digest"] = digest.hex()
    line = orjson.dumps(head)
    return b"".join([line, b"\n", packed, hashes])


def _check(until: object, packed: bytes, hashes: bytes) -> str:
    hasher = xxh3_64(orjson.dumps(until))
    hasher.update(packed)
    hasher.update(hashes)
    return hasher.hexdigest()


def encode_stored(part: StateRange) -> bytes:
    """Return the frame of a range that was read, without decoding its keys if that can be helped."""
    return part.stored or encode_range(part.until, part.load_keys(), part.hashes, part.digest)


def _pack_keys(keys: Sequence[Key]) -> bytes:
    """Return the keys as JSON. Only a float needs a look at each value: orjson would write infinities as null."""
    if float in set(map(type, chain.from_iterable(keys))):
        return orjson.dumps([key_to_json(key) for key in keys])
    return orjson.dumps(keys, default=to_json, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def encode_state_head(schema: StreamSchema) -> bytes:
    """Return the first line of a state object."""
    document = {"formatVersion": FORMAT_VERSION, **schema_to_json(schema)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def decode_state_head(line: bytes, what: str) -> StreamSchema:
    """Read the first line of a state object."""

    def read(document: dict[str, object]) -> StreamSchema:
        return schema_from_json(document)

    return reading(what, read, line)


def _unpack_keys(packed: bytes, rows: int, what: str) -> list[Key]:
    try:
        data = _unpacked(packed)
        keys = orjson.loads(data)
        if not isinstance(keys, list) or len(keys) != rows:
            raise DamagedError("a range does not hold the keys it says")
        if b"{" in data or data.count(b"[") != rows + 1 or not set(map(type, keys)) <= {list}:
            # Perhaps a tagged value, or something that is no key.
            return [key_from_json(key) for key in keys]
        return list(map(tuple, keys))
    except PARSE_ERRORS as error:
        raise invalid_document(what, error) from error


def _unpacked(packed: bytes) -> bytes:
    pieces, size = [], 0
    for piece in ZstdDecoder().feed(packed):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_RANGE_BYTES:
            raise DamagedError(f"the keys of a range are more than {_MAX_RANGE_BYTES:,} bytes")
    return b"".join(pieces)


class StateReader:
    """Reads frames, piece by piece; with `headed`, first the head line of a state object."""

    def __init__(self, *, headed: bool, what: str) -> None:
        self._headed = headed
        self._what = what
        self._buffer = bytearray()
        self.schema: StreamSchema | None = None

    def feed(self, data: bytes) -> Iterator[StateRange]:
        """Give the ranges that `data` completes."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            if self._headed and self.schema is None:
                self.schema = decode_state_head(line, self._what)
                del self._buffer[: end + 1]
                continue
            try:
                part = self._frame(parse_line(line, "a frame"), end + 1)
            except PARSE_ERRORS as error:
                raise invalid_document(self._what, error) from error
            if part is None:
                return
            yield part
        if len(self._buffer) > _MAX_FRAME_LINE_BYTES:
            raise DamagedError(f"{self._what} holds no frame within {_MAX_FRAME_LINE_BYTES:,} bytes")

    def close(self) -> None:
        """DamagedError when the bytes ended within a frame."""
        if self._buffer or (self._headed and self.schema is None):
            raise DamagedError(f"{self._what} is truncated")

    def _frame(self, head: Mapping[str, object], start: int) -> StateRange | None:
        rows, length = get_uint(head, "rows"), get_uint(head, "keys")
        end = start + length + rows * HASH_BYTES
        if end - start > _MAX_RANGE_BYTES:
            raise DamagedError(f"a range claims {end - start:,} bytes, and may have {_MAX_RANGE_BYTES:,}")
        if len(self._buffer) < end:
            return None
        packed = bytes(self._buffer[start : start + length])
        hashes = bytes(self._buffer[start + length : end])
        stored = bytes(self._buffer[:end])
        del self._buffer[:end]
        until = key_from_json(head.get("until"))
        if "check" in head and head["check"] != _check(head["until"], packed, hashes):
            raise DamagedError("a range is altered: it is not what its check says; restore the object")
        load_keys = partial(_unpack_keys, packed, rows, self._what)
        return StateRange(until, hashes, load_keys, stored, _digest(head.get("digest")))


def _digest(value: object) -> bytes | None:
    """Read the digest of a range, if it has one."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise DamagedError("the digest of a range is no text")
    return bytes.fromhex(value)
