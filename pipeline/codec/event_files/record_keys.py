"""The keys of records, read without decoding the rest of the rows.

Keys become bytes that are equal for equal keys, however they are written: 1, 1.0 and true are one key, as they are for
the exporter that compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from pipeline.codec.wire import can_name_members
from pipeline.domain.errors import DamagedError

_LARGEST_EXACT = 2.0**63


@dataclass(frozen=True, slots=True)
class KeyedLines:
    """Records in file order: each line without its line feed, its key, and whether it is a delete."""

    lines: Sequence[bytes]
    keys: Sequence[bytes]
    deletes: Sequence[bool]

    def chosen(self, wanted: Sequence[bool], *, deletes: bool) -> list[bytes]:
        """Return the `wanted` lines that are deletes, or those that are upserts."""
        rows = zip(self.lines, wanted, self.deletes, strict=True)
        return [line for line, is_wanted, is_delete in rows if is_wanted and is_delete is deletes]


class KeyReader:
    """Reads the keys in blocks of lines of one stream; `what` names the file in errors."""

    def __init__(self, primary_keys: Sequence[str], what: str) -> None:
        self._primary_keys = primary_keys
        self._what = what
        self._decoder: Any = None
        if can_name_members(primary_keys):
            self._decoder = msgspec.json.Decoder(_record_type(primary_keys))

    def read(self, block: bytes) -> KeyedLines:
        """Return the records of a block of whole lines. DamagedError for a line that is not a record."""
        lines = block.split(b"\n")[:-1]
        records = self._records(block, lines)
        keys = [_key_bytes(key) for key, _ in records]
        return KeyedLines(lines, keys, [is_delete for _, is_delete in records])

    def _records(self, block: bytes, lines: Sequence[bytes]) -> list[tuple[Sequence[object], bool]]:
        if self._decoder is not None:
            try:
                decoded: list[Any] = self._decoder.decode_lines(block)
            except msgspec.MsgspecError:
                decoded = []
            if len(decoded) == len(lines):
                values, unset = msgspec.structs.astuple, msgspec.UNSET
                pairs = [(record.upsert, record.delete) for record in decoded]
                if all((upsert is unset) is not (delete is unset) for upsert, delete in pairs):
                    return [
                        (values(upsert), False) if delete is unset else (values(delete), True)
                        for upsert, delete in pairs
                    ]
        return [self._record(line) for line in lines]

    def _record(self, line: bytes) -> tuple[Sequence[object], bool]:
        try:
            ((kind, body),) = orjson.loads(line).items()
            key = [body[name] for name in self._primary_keys]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedError(f"{self._what} holds a line that is not a record: {line[:80]!r}") from error
        if kind not in ("upsert", "delete"):
            raise DamagedError(f"{self._what} holds a record of an unknown kind: {kind[:80]!r}")
        return key, kind == "delete"


def _record_type(primary_keys: Sequence[str]) -> Any:
    """Return a type with only the key columns: msgspec skips all others without creating values."""
    names = [f"key_{place}" for place in range(len(primary_keys))]
    renamed = dict(zip(names, primary_keys, strict=True))
    body: Any = msgspec.defstruct("Body", [(name, Any) for name in names], rename=renamed, gc=False)
    missing = (body | msgspec.UnsetType, msgspec.UNSET)
    return msgspec.defstruct(
        "Record", [("upsert", *missing), ("delete", *missing)], gc=False, forbid_unknown_fields=True
    )


def _key_bytes(key: Sequence[object]) -> bytes:
    if len(key) == 1 and type(key[0]) is int:
        return b"[%d]" % key[0]
    return orjson.dumps([_plain(value) for value in key], option=orjson.OPT_SORT_KEYS)


def _plain(value: object) -> object:
    """Return the same value for equal numbers."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        return int(value)
    return value
