"""The failures of one Event File in one Movement: which line, which key, why."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from pipeline.codec.documents.flow import get_str, get_uint, reading
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import EventFileId


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record (`line`, `key`), or with both None a whole Event File, could not be applied."""

    file: EventFileId
    line: int | None
    key: str | None
    column: str | None
    reason: str


def encode_failures(failures: list[Failure]) -> bytes:
    """Return the failures of one Event File."""
    return orjson.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "failures": [
                {"file": str(f.file), "line": f.line, "key": f.key, "column": f.column, "reason": f.reason}
                for f in failures
            ],
        },
        option=orjson.OPT_INDENT_2,
    )


def _read_failures(document: dict[str, object]) -> list[Failure]:
    items = document["failures"]
    if not isinstance(items, list):
        raise TypeError("failures is not an array")
    return [_read_failure(item) for item in items]


def _read_failure(item: dict[str, object]) -> Failure:
    return Failure(
        file=EventFileId.parse(get_str(item, "file")),
        line=None if item["line"] is None else get_uint(item, "line"),
        key=None if item["key"] is None else get_str(item, "key"),
        column=None if item["column"] is None else get_str(item, "column"),
        reason=get_str(item, "reason"),
    )


def decode_failures(data: bytes, what: str) -> list[Failure]:
    """Read the failures of one Event File."""
    return reading(what, _read_failures, data)
