"""Blocks of an Event File as rows of a COPY in CSV, without looking at most values.

PostgreSQL's CSV with the escape character `\\` and the NULL string `null` is so near to JSON that a value's JSON text is
its CSV text: numbers, true, false, null, and strings with their quotes. msgspec takes the lines apart and checks that
they are JSON (`msgspec.Raw`); no Python object is made of a value. Only escapes other than `\\"` and `\\\\` must be
resolved, for a whole block at once (`copy_data`), and tagged objects (`pipeline.codec.values`), one by one.

Measured with rows of 400 bytes and 12 columns, processor time a row: this 1.6 µs, msgspec into values and psycopg's
`write_row` 4.2 (text) or 2.1 (binary, which wants a Python object of the right class for every type); the server takes
3.0 to 3.5 µs for all three. JSON functions of the server take it 15 µs and more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from pipeline.codec.values import from_json
from pipeline.connectors.postgres.refusals import UnfitError
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import KeyValue, RawText

Kind: TypeAlias = Literal["upsert", "delete"]
RawRow: TypeAlias = tuple[Any, ...]

_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec takes in no name of a member."""
_COMPACT = re.compile(rb'\{"(?:upsert|delete)":\{"')
_TAG = b'{"$'
"""How a tagged object begins, and nothing else does: within a string the quote would be escaped."""
_FLOATS = ((b'{"$float":"nan"}', b"NaN"), (b'{"$float":"inf"}', b"Infinity"), (b'{"$float":"-inf"}', b"-Infinity"))
_ESCAPED = re.compile(rb'\\[^"\\]')
_CODE_POINTS = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_PROTECTED = b"\xff"
"""Stands for two backslashes while other escapes are resolved: UTF-8 has no such byte."""
_SIMPLE_ESCAPES = ((rb"\n", b"\n"), (rb"\t", b"\t"), (rb"\r", b"\r"), (rb"\b", b"\b"), (rb"\f", b"\f"), (rb"\/", b"/"))


class Holds(Enum):
    """What the column of the destination does with a value."""

    TEXT = "text"
    """It reads the value's text by its type's own rules."""
    BYTES = "bytes"
    ANY = "any"
    """It keeps the value's JSON, of whatever kind it is."""


@dataclass(frozen=True, slots=True)
class LineColumn:
    """A column of the stream. `holds` is None for a column that does not go in."""

    name: str
    holds: Holds | None


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one kind. `places` are their lines, counted from 0 in the block; `rows` their CSV, for `columns`.

    `keys` are the keys as they are written, each a value or a tuple of values. `rows` still have JSON's escapes.
    """

    kind: Kind
    columns: tuple[str, ...]
    places: Sequence[int]
    rows: Sequence[bytes]
    keys: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, end: int) -> Run:
        """Return the records from `start` on, before `end`."""
        return Run(self.kind, self.columns, self.places[start:end], self.rows[start:end], self.keys[start:end])

    def last_of_each_key(self) -> Run:
        """Return the records without those that a later one with the same key replaces."""
        last = dict(zip(hashable(self.keys), range(len(self.keys)), strict=True))
        if len(last) == len(self.keys):
            return self
        left = sorted(last.values())
        pick: Callable[[Sequence[Any]], list[Any]] = lambda of: [of[place] for place in left]  # noqa: E731
        return Run(self.kind, self.columns, pick(self.places), pick(self.rows), pick(self.keys))


@dataclass(frozen=True, slots=True)
class Decoded:
    """A block of `count` lines. Its runs are applied in order; `unfit` are lines that can become no row, with why."""

    block: bytes
    count: int
    runs: Sequence[Run]
    unfit: Sequence[tuple[int, UnfitError]] = ()


class _Bytes(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: bytes = msgspec.field(name="$bytes")


class Lines:
    """Reads the lines of a stream with these columns and this key, for a destination that has them."""

    def __init__(self, columns: Sequence[LineColumn], key: Sequence[LineColumn]) -> None:
        self._columns = columns
        self._key = key
        self._wanted = tuple(column.name for column in columns if column.holds is not None)
        self._key_names = tuple(column.name for column in key)
        self._decoder = self._quick_decoder()
        names = [column.name for column in columns]
        self._pick = None if len(self._wanted) == len(names) else [names.index(name) for name in self._wanted]
        self._key_places = [names.index(name) for name in self._key_names]
        self._special = _special(column for column in columns if column.holds is not None)
        self._key_special = _special(key)

    def decode(self, block: bytes, first_line: int, what: str) -> Decoded:
        """Return what a block holds that begins with the line number `first_line` of `what`.

        DamagedError that names `what` and the first line that is not JSON.
        """
        quick = self._decode_quickly(block)
        return self._decode_carefully(block, first_line, what) if quick is None else quick

    def _quick_decoder(self) -> Any:
        if any(_UNWRITABLE.search(column.name) for column in self._columns):
            return None
        body = _structure("Body", self._columns)
        key = _structure("Key", self._key)
        record = msgspec.defstruct(
            "Record",
            [("upsert", body | None, None), ("delete", key | None, None)],
            gc=False,
            forbid_unknown_fields=True,
        )
        return msgspec.json.Decoder(record)

    def _decode_quickly(self, block: bytes) -> Decoded | None:
        """Return what the block holds; None unless all its lines are whole records whose values go in as they are."""
        if self._decoder is None or not _COMPACT.match(block):
            return None
        try:
            records: list[Any] = self._decoder.decode_lines(block)
            count = len(records)
            if count != block.count(b"\n"):
                return None
            row = msgspec.structs.astuple
            upserts = [row(record.upsert) for record in records if record.delete is None]
            deletes = () if len(upserts) == count else [row(r.delete) for r in records if r.upsert is None]
        except (msgspec.MsgspecError, TypeError):  # TypeError: a record of neither kind
            return None
        if len(upserts) + len(deletes) != count:
            return None
        run = self._upserts(upserts, range(count)) if not deletes else None
        if run is not None:
            runs: list[Run] = [run]
        else:
            places: tuple[list[int], list[int]] = ([], [])
            for place, record in enumerate(records):
                places[record.upsert is None].append(place)
            runs = _in_few_runs(self._deletes(deletes, places[1]), self._upserts(upserts, places[0]))
        if b"$" in block and _TAG in block:  # one byte is looked for three times as fast
            runs = [replace(run, rows=[_with_floats(row) for row in run.rows]) for run in runs]
            if any(_TAG in row for run in runs for row in run.rows):
                return None
        return Decoded(block, count, runs)

    def _upserts(self, rows: Sequence[RawRow], places: Sequence[int]) -> Run:
        key = itemgetter(*self._key_places)
        keys = list(map(key, rows))
        if self._pick is not None:
            pick = itemgetter(*self._pick)
            rows = list(map(pick, rows)) if len(self._pick) > 1 else [(pick(row),) for row in rows]
        return Run("upsert", self._wanted, places, _csv(rows, self._special), keys)

    def _deletes(self, rows: Sequence[RawRow], places: Sequence[int]) -> Run:
        csv = _csv(rows, self._key_special)
        keys = rows if len(self._key) > 1 else [row[0] for row in rows]
        return Run("delete", self._key_names, places, csv, keys)

    def _decode_carefully(self, block: bytes, first_line: int, what: str) -> Decoded:
        """Look at each value. Runs are of neighbours with the same kind and columns."""
        found: list[tuple[int, Kind, tuple[str, ...], bytes, bytes]] = []
        unfit: list[tuple[int, UnfitError]] = []
        lines = block.removesuffix(b"\n").split(b"\n") if block else []
        for place, line in enumerate(lines):
            try:
                found.append((place, *self._record(_parsed(line, first_line + place, what))))
            except UnfitError as error:
                unfit.append((place, error))
        runs = []
        for (kind, columns), group in groupby(found, key=itemgetter(1, 2)):
            places, _, _, rows, keys = zip(*group, strict=True)
            runs.append(Run(kind, columns, places, rows, keys))
        return Decoded(block, len(lines), runs, unfit)

    def _record(self, record: object) -> tuple[Kind, tuple[str, ...], bytes, bytes]:
        """Return a record's kind, columns, row and key."""
        match record:
            case {"upsert": dict(body), **rest} if not rest:
                kind: Kind = "upsert"
            case {"delete": dict(body), **rest} if not rest:
                kind = "delete"
            case _:
                raise UnfitError("neither an upsert nor a delete")
        for column in self._key:
            if body.get(column.name) is None:
                state = "NULL" if column.name in body else "missing"
                raise UnfitError(f"the key column {column.name} is {state}", column.name)
        key = b",".join(value_csv(body[column.name], column) for column in self._key)
        if kind == "delete":
            return kind, self._key_names, key, key
        present = [column for column in self._columns if column.holds is not None and column.name in body]
        row = b",".join(value_csv(body[column.name], column) for column in present)
        return kind, tuple(column.name for column in present), row, key


def _structure(name: str, columns: Sequence[LineColumn]) -> Any:
    fields = [
        (f"column_{place}", _Bytes | None if column.holds is Holds.BYTES else msgspec.Raw)
        for place, column in enumerate(columns)
    ]
    renamed = {f"column_{place}": column.name for place, column in enumerate(columns)}
    return msgspec.defstruct(name, fields, rename=renamed, gc=False, forbid_unknown_fields=True)


def _special(columns: Iterable[LineColumn]) -> list[tuple[int, Callable[[Any], bytes]]]:
    """Return the places whose values must be rewritten, and how."""
    how: dict[Holds | None, Callable[[Any], bytes]] = {Holds.BYTES: _hex, Holds.ANY: _as_string}
    return [(place, how[column.holds]) for place, column in enumerate(columns) if column.holds in how]


def _hex(value: _Bytes | None) -> bytes:
    return b"null" if value is None else b"\\x" + value.data.hex().encode()


def _with_floats(row: bytes) -> bytes:
    """Return CSV with the floats that JSON cannot hold as PostgreSQL writes them."""
    if _TAG in row:
        for tagged, text in _FLOATS:
            row = row.replace(tagged, text)
    return row


def _as_string(raw: Any) -> bytes:
    """Return JSON text as a JSON string of it."""
    text = bytes(raw)
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' if text != b"null" else text


def _csv(rows: Sequence[RawRow], special: Sequence[tuple[int, Callable[[Any], bytes]]]) -> list[bytes]:
    if not special:
        return [b",".join(row) for row in rows]
    found = []
    for row in rows:
        values = list(row)
        for place, rewritten in special:
            values[place] = rewritten(values[place])
        found.append(b",".join(values))
    return found


def hashable(keys: Sequence[Any]) -> list[object]:
    """Return values of raw JSON as bytes, which can be compared."""
    first = keys[0] if keys else None
    if isinstance(first, tuple):
        return [tuple([_plain(value) for value in key]) for key in keys]
    return [_plain(key) for key in keys]


def _plain(value: Any) -> object:
    return value.data if isinstance(value, _Bytes) else value if value is None else bytes(value)


def _in_few_runs(deletes: Run, upserts: Run) -> list[Run]:
    """Return one run of each kind if no key is in both, in the order of lines otherwise."""
    if set(hashable(deletes.keys)).isdisjoint(hashable(upserts.keys)):
        return [run for run in (deletes, upserts) if run.rows]
    pieces = [(run.places[at], run, at) for run in (deletes, upserts) for at in range(len(run))]
    runs = []
    for _, group in groupby(sorted(pieces, key=itemgetter(0)), key=lambda piece: piece[1].kind):
        members = list(group)
        runs.append(members[0][1].part(members[0][2], members[-1][2] + 1))
    return runs


def _parsed(line: bytes, number: int, what: str) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{what}, line {number} is not JSON: {error}; export the stream anew") from error


def value_csv(value: object, column: LineColumn) -> bytes:
    """Return a value of a parsed record as CSV with JSON's escapes. UnfitError when the column cannot hold it."""
    if column.holds is Holds.ANY:
        return b"null" if value is None else orjson.dumps(orjson.dumps(value).decode())
    try:
        return _scalar_csv(from_json(value), column)
    except DamagedError as error:
        raise UnfitError(f"column {column.name}: {error}", column.name) from error


def _scalar_csv(value: KeyValue, column: LineColumn) -> bytes:
    match value:
        case bytes() if column.holds is Holds.BYTES:
            return b"\\x" + value.hex().encode()
        case bytes():
            raise UnfitError(f"column {column.name}: bytes, in a column that does not hold bytes", column.name)
        case RawText():
            raise UnfitError(f"column {column.name}: text that is not valid in its encoding", column.name)
        case _ if column.holds is Holds.BYTES and value is not None:
            raise UnfitError(f"column {column.name}: {type(value).__name__}, in a column that holds bytes", column.name)
        case float() if value != value:
            return b"NaN"
        case float() if value in (float("inf"), float("-inf")):
            return b"Infinity" if value > 0 else b"-Infinity"
        case _:
            return orjson.dumps(value)


def copy_data(rows: Sequence[bytes]) -> bytes:
    """Return rows with JSON's escapes as the bytes of a COPY with the options `COPY_OPTIONS`."""
    data = b"\n".join(rows) + b"\n"
    if not _ESCAPED.search(data) or _PROTECTED in data:  # which is not UTF-8: the server says so
        return data
    data = data.replace(rb"\\", _PROTECTED)
    for escape, meaning in _SIMPLE_ESCAPES:
        data = data.replace(escape, meaning)
    if rb"\u" in data:
        data = _CODE_POINTS.sub(_characters, data)
    return data.replace(_PROTECTED, rb"\\")


def _characters(escapes: re.Match[bytes]) -> bytes:
    text = orjson.loads(b'"' + escapes[0] + b'"')
    return str(text).replace("\\", "\\\\").replace('"', '\\"').encode()


COPY_OPTIONS = "(FORMAT csv, ESCAPE '\\', NULL 'null', ENCODING 'UTF8')"
