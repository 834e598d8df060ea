"""Blocks of lines as runs of records of one kind, and one record as the values of a statement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import orjson

from pipeline.codec.values import count_lines, from_json, refuse_wide_integers
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import EventFileId
from pipeline.domain.keys import KeyValue, RawText

UPSERT = "upsert"
DELETE = "delete"
UNKNOWN = "unknown"

_UTF16 = {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}


NOT_A_NUMBER = "NaN, of which SQLite would make NULL"


class InvalidRecordError(Exception):
    """A record that cannot become a statement; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records of one kind. `bodies` is what their member is, whatever that is; a whole record if unknown."""

    kind: str
    first_line: int
    bodies: Sequence[object]


@dataclass(frozen=True, slots=True)
class Bound:
    """Values for the columns of one statement; those at the places `raw` are the bytes of a text."""

    columns: tuple[str, ...]
    values: tuple[bool | int | float | str | bytes | None, ...]
    raw: frozenset[int]


@dataclass(frozen=True, slots=True)
class Upsert:
    """One upsert on the careful way: where it stands, and its body as parsed."""

    file: EventFileId
    line: int
    body: object


def parse_block(block: bytes, first_line: int, what: str) -> list[object]:
    """Return the value on each line. DamagedError that names `what` and the first line that is not JSON.

    A JSON string holds no line feed as such, so the lines are read as one array, which is faster than one by one.
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
        raise DamagedError(f"{what}, line {number} is not JSON: {error}; export the stream anew") from error


def runs(records: Sequence[object], first_line: int) -> Iterator[Run]:
    """Split records into runs, in order."""
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
    """Return the bodies when all records are upserts: by far the most frequent block, so decided without a loop."""
    try:
        bodies = [record[UPSERT] for record in records]  # type: ignore[index]  # a wrong type is what is caught
        return bodies if set(map(len, records)) == {1} else None  # type: ignore[arg-type]  # dicts, as shown above
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


def bind(body: object, names: Sequence[str], target: Target) -> Bound:
    """Return the values that the columns `names` have in `body`, those it has. InvalidRecordError when a value cannot be held."""
    if not isinstance(body, dict):
        raise InvalidRecordError("not an object of columns and values")
    columns = tuple(name for name in names if name in body)
    for name in target.key:
        if body.get(name) is None:
            raise InvalidRecordError(f"the key column {name} is {'NULL' if name in body else 'missing'}")
    values: list[bool | int | float | str | bytes | None] = []
    raw = set()
    for place, name in enumerate(columns):
        value = _storable(_read(body[name], name), name, target)
        if isinstance(value, RawText):
            raw.add(place)
            value = value.data
        values.append(value)
    return Bound(columns, tuple(values), frozenset(raw))


def _read(value: object, name: str) -> KeyValue:
    try:
        return from_json(value)
    except DamagedError as error:
        raise InvalidRecordError(f"column {name}: {error}") from error


def _storable(value: KeyValue, name: str, target: Target) -> KeyValue:
    match value:
        case int() if not -(1 << 63) <= value < 1 << 63:
            raise InvalidRecordError(f"column {name}: an integer of more than 64 bits")
        case float() if math.isnan(value):
            raise InvalidRecordError(f"column {name}: {NOT_A_NUMBER}")
        case RawText() if target.source_encoding != target.encoding:
            raise InvalidRecordError(
                f"column {name}: text that is not valid {target.source_encoding} cannot be held by a database in "
                f"{target.encoding}"
            )
        case str() if target.encoding in _UTF16 and ("\ufffe" in value or "\uffff" in value):
            # SQLite's conversion from UTF-8 to UTF-16 replaces these two characters.
            return RawText(value.encode(_UTF16[target.encoding]))
        case _:
            return value
