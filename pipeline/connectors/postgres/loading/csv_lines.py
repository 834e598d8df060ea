"""Blocks of an Event File as rows of a COPY in CSV, without decoding most values.

In PostgreSQL's CSV with the escape character `\\` and the NULL string `null`, a value's JSON text is its CSV text:
numbers, true, false, null, and strings with their quotes. msgspec splits the lines and checks that they are JSON
(`msgspec.Raw`), without a Python object for a value. Only escapes other than `\\"` and `\\\\` must be resolved, for a
whole block at once (`copy_data`), and tagged objects (`pipeline.codec.values`), one by one. The figures are in
docs/explanation/performance.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from pipeline.codec.event_files.array_lines import ARRAY, NamedLines, array_record, with_names
from pipeline.codec.values import count_lines
from pipeline.codec.wire import can_name_members
from pipeline.connectors.postgres.loading.csv_values import (
    TAG,
    Holds,
    LineColumn,
    TaggedBytes,
    array_values,
    copy_data,
    resolved,
    special_places,
    value_csv,
    with_floats,
)
from pipeline.connectors.postgres.loading.rejection.reasons import InvalidRecordError
from pipeline.domain.errors import DamagedError

Kind: TypeAlias = Literal["upsert", "delete"]
RawRow: TypeAlias = tuple[Any, ...]

_COMPACT = re.compile(rb'\{"(?:upsert|delete)":(?:\{"|\[)')


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one kind. `places` are their lines, from 0 in the block; `rows` their CSV for `columns` of the table.

    `keys` are the keys as JSON, each a value or a tuple of values. `rows` still have JSON's escapes. `copied`: all rows as
    the bytes of a COPY, where `rows` and `keys` were not made.
    """

    kind: Kind
    columns: tuple[str, ...]
    places: Sequence[int]
    rows: Sequence[bytes]
    keys: Sequence[Any]
    copied: bytes | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def data(self) -> bytes:
        """Its rows as the bytes of a COPY."""
        return copy_data(self.rows) if self.copied is None else self.copied

    def part(self, start: int, end: int) -> Run:
        """Return the records from `start` to before `end`."""
        return Run(self.kind, self.columns, self.places[start:end], self.rows[start:end], self.keys[start:end])

    def parts(self, at: int | None) -> list[Run]:
        """Return the parts to try in order when it fails: halves, or the row `at` alone, which is said to be at fault."""
        count = len(self)
        if at is None or not 0 <= at < count:
            return [self.part(0, count // 2), self.part(count // 2, count)]
        middle = (at + 1 + count + 1) // 2
        return [self.part(0, at), self.part(at, at + 1), self.part(at + 1, middle), self.part(middle, count)]

    def last_of_each_key(self) -> tuple[Run, Collection[object]]:
        """Return the last record of each key, and all keys."""
        last = dict(zip(hashable(self.keys), range(len(self.keys)), strict=True))
        return (self if len(last) == len(self.keys) else self.only(sorted(last.values()))), last.keys()

    def without(self, rows: Sequence[int]) -> Run:
        """Return the records except those at these indexes of `rows`."""
        gone = set(rows)
        return self.only([row for row in range(len(self)) if row not in gone])

    def only(self, left: Sequence[int]) -> Run:
        """Return the records at these indexes of `rows`, which ascend."""
        return Run(
            self.kind,
            self.columns,
            [self.places[row] for row in left],
            [self.rows[row] for row in left],
            [self.keys[row] for row in left],
        )


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that cannot become a row: its place, from 0 in the block, and why."""

    place: int
    error: InvalidRecordError


@dataclass(frozen=True, slots=True)
class Decoded:
    """A block of `count` lines, as steps to apply in order."""

    count: int
    steps: Sequence[Run | InvalidLine]


class Lines:
    """Decodes the lines of a stream with these columns and this key."""

    def __init__(self, columns: Sequence[LineColumn], key: Sequence[LineColumn]) -> None:
        self._columns = columns
        self._key = key
        self._wanted = tuple(column.column for column in columns if column.holds is not None)
        self._key_names = tuple(column.column for column in key)
        self._decoder = self._quick_decoder()
        self._array_decoder: Any = None
        if can_name_members(column.name for column in key):
            types = _types(columns)
            self._array_decoder = msgspec.json.Decoder(array_record(types, delete=_structure("Key", key)))
        self._names = [column.name for column in columns]
        self._named = NamedLines(self._names)
        loaded = [place for place, column in enumerate(columns) if column.holds is not None]
        self._pick = None if len(loaded) == len(columns) else loaded
        self._key_places = [self._names.index(column.name) for column in key]
        self._special = special_places(column for column in columns if column.holds is not None)
        self._key_special = special_places(key)

    def decode(self, block: bytes, first_line: int, what: str, *, ignores_keys: bool = False) -> Decoded:
        """Return the records of a block whose first line has the number `first_line` in `what`.

        With `ignores_keys` the keys of rows will hardly be asked for. DamagedError that names `what` and the first line that
        is not JSON.
        """
        quick = (self._copied(block) if ignores_keys else None) or self._decode_quickly(block)
        return self._decode_carefully(block, first_line, what) if quick is None else quick

    def named(self, block: bytes) -> bytes:
        """Return the lines of a block with names in place of arrays."""
        return self._named.of(block)

    def _copied(self, block: bytes) -> Decoded | None:
        """Return the rows of a block of arrays as they stand; None unless COPY takes them so."""
        if self._special or self._pick is not None or len(self._columns) < 2:  # `[]` would be an empty text
            return None
        found = array_values(block)
        if found is None:
            return None
        count, values = found
        return Decoded(count, [Run("upsert", self._wanted, range(count), (), (), resolved(values))])

    def _quick_decoder(self) -> Any:
        if not can_name_members(column.name for column in self._columns):
            return None
        body, key = _structure("Body", self._columns), _structure("Key", self._key)
        members = [("upsert", body | None, None), ("delete", key | None, None)]
        return msgspec.json.Decoder(msgspec.defstruct("Record", members, gc=False, forbid_unknown_fields=True))

    def _decode_quickly(self, block: bytes) -> Decoded | None:
        """Return the records; None unless all lines are complete records whose values need no checks."""
        decoder = self._array_decoder if ARRAY in block else self._decoder
        if decoder is None or not _COMPACT.match(block):
            return None
        try:
            records: list[Any] = decoder.decode_lines(block)
            count = len(records)
            if count != count_lines(block):
                return None
            row = msgspec.structs.astuple
            upserts = [row(record.upsert) for record in records if record.delete is None]
            deletes = () if len(upserts) == count else [row(r.delete) for r in records if r.upsert is None]
        except (msgspec.MsgspecError, TypeError):  # TypeError: a record of neither kind
            return None
        if len(upserts) + len(deletes) != count:
            return None
        if not deletes:
            runs = [self._upserts(upserts, range(count))]
        else:
            places: tuple[list[int], list[int]] = ([], [])
            for place, record in enumerate(records):
                places[record.upsert is None].append(place)
            runs = _in_few_runs(self._deletes(deletes, places[1]), self._upserts(upserts, places[0]))
        if b"$" in block and TAG in block:  # one byte is found three times faster than two
            runs = [replace(run, rows=[with_floats(row) for row in run.rows]) for run in runs]
            if any(TAG in row for run in runs for row in run.rows):
                return None
        return Decoded(count, runs)

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
        """Check each value. A run is of consecutive records of the same kind and columns; an invalid line is a step."""
        lines = block.removesuffix(b"\n").split(b"\n") if block else []
        found: list[tuple[int, Kind | None, object, Any, Any]] = []
        for place, line in enumerate(lines):
            try:
                found.append((place, *self._record(_parsed(line, first_line + place, what))))
            except InvalidRecordError as error:
                found.append((place, None, place, error, None))
        steps: list[Run | InvalidLine] = []
        for (kind, columns), group in groupby(found, key=itemgetter(1, 2)):
            places, _, _, rows, keys = zip(*group, strict=True)
            steps.append(InvalidLine(places[0], rows[0]) if kind is None else Run(kind, columns, places, rows, keys))
        return Decoded(len(lines), steps)

    def _record(self, record: object) -> tuple[Kind, tuple[str, ...], bytes, bytes]:
        """Return a record's kind, columns, row and key."""
        match with_names(record, self._names):
            case {"upsert": list(values), **rest} if not rest:
                raise InvalidRecordError(f"an array of {len(values)} values for {len(self._columns)} columns")
            case {"upsert": dict(body), **rest} if not rest:
                kind: Kind = "upsert"
            case {"delete": dict(body), **rest} if not rest:
                kind = "delete"
            case _:
                raise InvalidRecordError("neither an upsert nor a delete")
        for column in self._key:
            if body.get(column.name) is None:
                state = "NULL" if column.name in body else "missing"
                raise InvalidRecordError(f"the key column {column.name} is {state}", column.name)
        key = b",".join(value_csv(body[column.name], column) for column in self._key)
        if kind == "delete":
            return kind, self._key_names, key, key
        present = [column for column in self._columns if column.holds is not None and column.name in body]
        row = b",".join(value_csv(body[column.name], column) for column in present)
        return kind, tuple(column.column for column in present), row, key


def _types(columns: Sequence[LineColumn]) -> list[Any]:
    return [TaggedBytes | None if column.holds is Holds.BYTES else msgspec.Raw for column in columns]


def _structure(name: str, columns: Sequence[LineColumn]) -> Any:
    fields = [(f"column_{place}", type_) for place, type_ in enumerate(_types(columns))]
    renamed = {f"column_{place}": column.name for place, column in enumerate(columns)}
    return msgspec.defstruct(name, fields, rename=renamed, gc=False, forbid_unknown_fields=True)


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
    """Return keys of raw JSON as bytes, which are hashable."""
    first = keys[0] if keys else None
    if isinstance(first, msgspec.Raw):
        return list(map(bytes, keys))
    if isinstance(first, tuple):
        if all(isinstance(value, msgspec.Raw) for value in first):
            return [tuple(map(bytes, key)) for key in keys]
        return [tuple([_plain(value) for value in key]) for key in keys]
    return [_plain(key) for key in keys]


def _plain(value: Any) -> object:
    return value.data if isinstance(value, TaggedBytes) else value if value is None else bytes(value)


def _in_few_runs(deletes: Run, upserts: Run) -> list[Run]:
    """Return one run of each kind if no key is in both, and runs in the order of lines otherwise."""
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
        raise DamagedError(f"{what}, line {number} is not JSON: {error}; export the stream again") from error
