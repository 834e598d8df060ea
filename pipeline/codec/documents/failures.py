"""The failures of one Event File in one Movement: which line, which key, why."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from msgspec import Struct

from pipeline.codec.wire import Count, decode_document, parsing, to_document
from pipeline.domain.ids import EventFileId


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record could not be applied; or, where `line` and `key` are None, a whole Event File.

    `exception` is the type of the exception behind it, and `trace` the lines of code that it passed, without values.
    """

    file: EventFileId
    line: int | None
    key: str | None
    column: str | None
    reason: str
    exception: str = ""
    trace: tuple[str, ...] = ()


class _Failure(Struct):
    file: str
    line: Count | None
    key: str | None
    column: str | None
    reason: str
    exception: str = ""
    trace: tuple[str, ...] = ()


class _Failures(Struct):
    failures: list[_Failure]


def encode_failures(failures: list[Failure]) -> bytes:
    """Return the failures of one Event File."""
    found = _Failures(
        [
            _Failure(str(one.file), one.line, one.key, one.column, one.reason, one.exception, one.trace)
            for one in failures
        ]
    )
    return orjson.dumps(to_document(found), option=orjson.OPT_INDENT_2)


def decode_failures(data: bytes, what: str) -> list[Failure]:
    """Read the failures of one Event File. DamagedError names `what`."""
    found = decode_document(data, _Failures, what).failures
    with parsing(what):
        return [
            Failure(EventFileId.parse(one.file), one.line, one.key, one.column, one.reason, one.exception, one.trace)
            for one in found
        ]
