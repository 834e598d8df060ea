"""Blocks of lines as runs of records of one kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import orjson

from pipeline.codec.event_files.array_lines import with_names
from pipeline.codec.values import count_lines, refuse_wide_integers
from pipeline.domain.errors import DamagedError

UPSERT = "upsert"
DELETE = "delete"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records of one kind. `bodies` are the values of their members; whole records if unknown."""

    kind: str
    first_line: int
    bodies: Sequence[object]


def parse_block(block: bytes, first_line: int, what: str) -> list[object]:
    """Return the value on each line. DamagedError names `what` and the first line that is not JSON.

    No JSON string contains a line feed, so the lines are parsed as one array, which is faster than one by one.
    """
    joined = b"[%b]" % block.removesuffix(b"\n").replace(b"\n", b",")
    try:
        values = orjson.loads(joined)
    except orjson.JSONDecodeError:
        values = []
    if isinstance(values, list) and len(values) == count_lines(block):
        refuse_wide_integers(joined, f"{what}, in the {len(values)} lines from {first_line} on,")
        return values
    lines = block.removesuffix(b"\n").split(b"\n")
    return [_parse_line(line, number, what) for number, line in enumerate(lines, first_line)]


def _parse_line(line: bytes, number: int, what: str) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{what}, line {number} is not JSON: {error}; export the stream again") from error


def runs(records: Sequence[object], first_line: int, columns: Sequence[str] = ()) -> Iterator[Run]:
    """Split records into runs, in order. Values in an array are those of `columns`."""
    if any(isinstance(record, dict) and isinstance(record.get(UPSERT), list) for record in records):
        records = [with_names(record, columns) for record in records]
    whole = _all_upserts(records)
    if whole is not None:
        yield Run(UPSERT, first_line, whole)
        return
    line = first_line
    for kind, group in groupby(records, _kind):
        members = list(group)
        yield Run(kind, line, [_body(record, kind) for record in members])
        line += len(members)


def _all_upserts(records: Sequence[object]) -> list[object] | None:
    """Return the bodies when all records are upserts: by far the most frequent block, so checked without a loop."""
    try:
        bodies = [record[UPSERT] for record in records]  # type: ignore[index]  # a wrong type is caught below
        are_whole = set(map(len, records)) == {1} and list not in set(map(type, bodies))  # type: ignore[arg-type]  # dicts
        return bodies if are_whole else None
    except (TypeError, KeyError):
        return None


def _kind(record: object) -> str:
    members = record if isinstance(record, dict) else {}
    match members.get(UPSERT), members.get(DELETE):
        case dict(), None:
            return UPSERT
        case None, dict():
            return DELETE
        case _:
            return UNKNOWN


def _body(record: object, kind: str) -> object:
    return record[kind] if isinstance(record, dict) and kind != UNKNOWN else record
