"""The lines of an Event File as records with the author's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from pipeline.codec.values import from_json, refuse_wide_integers
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.ids import EventFileId
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit.calls import FAILURES
from pipeline.kit.configuration.secret import text_of
from pipeline.kit.declared import Handler
from pipeline.kit.loading.python_values import AS_IT_IS, DECODE_ERRORS, Decode, decoder_of, natural_decoder
from pipeline.kit.values import Delete, Upsert

PART_BYTES = 160_000
"""An Event File is decoded and applied in parts of about this many bytes, some hundred to some thousand records."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that is no row of the author's type: why, in which column, and its line in the Event File."""

    reason: str
    column: str | None
    line: int


Value = Upsert[Any] | Delete | Invalid


@dataclass(slots=True)
class Records:
    """Consecutive records: what the author gets of each, their lines, and the Event Files that they came in.

    `text` are the lines with line feeds between them, or a list of them. `files` is one for all, or one for each.
    `plain`: all are upserts.
    """

    values: Sequence[Value]
    text: bytes | Sequence[bytes]
    files: EventFileId | Sequence[EventFileId]
    key_names: tuple[str, ...]
    plain: bool = False

    @property
    def lines(self) -> Sequence[bytes]:
        """The line of each record. They are split when one of them is asked for, which is rare."""
        if isinstance(self.text, bytes):
            self.text = self.text.split(b"\n")
        return self.text

    def file(self, at: int) -> EventFileId:
        """Return the Event File of a record."""
        return self.files if isinstance(self.files, EventFileId) else self.files[at]

    def chosen(self, places: Sequence[int]) -> Records:
        """Return the records at these positions."""
        if len(places) == len(self.values):
            return self
        files = self.files if isinstance(self.files, EventFileId) else [self.files[at] for at in places]
        values, lines = [self.values[at] for at in places], [self.lines[at] for at in places]
        return Records(values, lines, files, self.key_names, plain=self.plain)

    def key(self, at: int) -> str:
        """Return the key of a record as JSON text."""
        ((_, body),) = orjson.loads(self.lines[at]).items()
        return orjson.dumps([body[name] for name in self.key_names]).decode()


def column_problem(handler: Handler, schema: StreamSchema) -> str:
    """Return which fields of a handler's row a stream lacks, with what to do; empty when it has all."""
    needed = [field.column.name for field in handler.row.fields if field.required]
    missing = [name for name in needed if name not in schema.column_names]
    if not missing:
        return ""
    return (
        f"{handler.line}: the stream {schema.stream!r} has no column {', '.join(map(repr, missing))}, which the row "
        f"of its handler needs. It has: {', '.join(schema.column_names)}. Give the field a default, or another name."
    )


class RecordReader:
    """Reads the records of one stream for a handler.

    ConfigurationError when the handler's row has a field without a default that the stream does not have.
    """

    def __init__(self, handler: Handler, schema: StreamSchema) -> None:
        self._handler = handler
        self._key = schema.primary_keys
        if problem := column_problem(handler, schema):
            raise ConfigurationError(problem)
        columns = {column.name: column for column in schema.columns}
        fields = {field.column.name: field for field in handler.row.fields}
        self._decoders: dict[str, tuple[Decode, bool]] = {}
        for name, column in columns.items():
            if name in fields:
                self._decoders[name] = decoder_of(fields[name], column), fields[name].column.nullable
            elif handler.row.open or name in self._key:
                self._decoders[name] = natural_decoder(column), True
        self._wanted = [name for name in self._decoders if name in fields or handler.row.open]
        self._has_decimal_key = any(columns[name].type == "decimal" for name in self._key if name in columns)
        self._plain = self._plain_decoder(columns)
        self.skipped_columns = tuple(name for name in columns if name not in self._wanted)

    def read(self, block: bytes, first_line: int, file: EventFileId) -> Iterator[Records]:
        """Yield the records of a block of whole lines in parts. DamagedError names a line that is no record.

        Parts are small, so that their values are still in the processor's cache when the author's function sees them.
        """
        what = f"Event File {file}"
        start, line, end = 0, first_line, len(block) - block.endswith(b"\n")
        while start < end:
            cut = block.find(b"\n", min(start + PART_BYTES, end), end)
            stop = end if cut < 0 else cut
            yield (part := self._part(block[start:stop], line, file, what))
            start, line = stop + 1, line + len(part.values)

    def _part(self, text: bytes, first_line: int, file: EventFileId, what: str) -> Records:
        array = b"[%b]" % text.replace(b"\n", b",")  # no JSON text contains a line feed
        plain = self._plain_upserts(array, text.count(b"\n") + 1, first_line)
        if plain is not None:
            return Records(plain, text, file, self._key, plain=True)
        refuse_wide_integers(array, what)
        lines = text.split(b"\n")
        values = [self._read_line(line, number, what) for number, line in enumerate(lines, first_line)]
        records = Records(values, lines, file, self._key)
        return self._deletes_first(records) if self._has_decimal_key else records

    def _deletes_first(self, records: Records) -> Records:
        """Return records of a stream with a decimal in its key, the deletes first.

        2.5 and 2.50 are two keys of a database, and one of an app: the one goes before the other comes. Where a key comes
        twice, the order of its records counts, and nothing is moved.
        """
        places = range(len(records.values))
        if len({records.key(at) for at in places}) < len(places):
            return records
        order = sorted(places, key=lambda at: not isinstance(records.values[at], Delete))
        values, lines = [records.values[at] for at in order], [records.lines[at] for at in order]
        return Records(values, lines, records.files, self._key)

    def read_lines(self, lines: Sequence[tuple[EventFileId, int, bytes]]) -> Records:
        """Return the records on single lines of several Event Files, each with its number."""
        values = [self._read_line(line, number, f"Event File {file}") for file, number, line in lines]
        return Records(values, [line for _, _, line in lines], [file for file, _, _ in lines], self._key)

    def _plain_upserts(self, array: bytes, count: int, first_line: int) -> list[Upsert[Any]] | None:
        """Return `count` records, an array, if all are upserts of values that JSON holds as they are; else None.

        They are parsed at once, which is faster than one by one. Integers have any number of digits.
        """
        if self._plain is None or b'{"$' in array:
            return None
        try:
            rows = self._plain(array)
        except FAILURES:
            return None  # a delete, a value that must be decoded or rejected, or what a row type raises
        if len(rows) != count:
            return None
        read = self._handler.row.reader(self._key)
        return list(map(Upsert, map(read, rows), rows, range(first_line, first_line + count)))

    def _read_line(self, line: bytes, number: int, what: str) -> Value:
        try:
            ((kind, body),) = orjson.loads(line).items()
            for name in self._key:
                body[name]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedError(f"{what}, line {number} is not a record; export the stream again") from error
        return self._value(kind, body, number)

    def _value(self, kind: str, body: dict[str, Any], number: int) -> Value:
        name = ""
        try:
            values: dict[str, Any] = {}
            for name in self._key if kind == "delete" else self._decoders:
                decode, nullable = self._decoders[name]
                written = body.get(name)
                if written is None and not nullable:
                    reason = f"the column {name!r} is NULL, which the row of the handler does not allow"
                    return Invalid(reason, name, number)
                values[name] = None if written is None else decode(from_json(written))
        except (*DECODE_ERRORS, DamagedError) as error:
            return Invalid(f"the column {name!r} holds {error}", name, number)
        key = tuple([values[name] for name in self._key])
        if kind == "delete":
            return Delete(key if len(key) > 1 else key[0], number)
        try:
            row = self._handler.row.make({name: values[name] for name in self._wanted})
        except FAILURES as error:  # a row type checks its values, and raises what it likes
            return Invalid(f"{type(error).__name__}: {text_of(error)}", None, number)
        return Upsert(key if len(key) > 1 else key[0], row, number)

    def _plain_decoder(self, columns: Mapping[str, Column]) -> Callable[[bytes], list[Any]] | None:
        """Return how an array of upserts is decoded at once, if JSON holds all values of the row as they are."""
        row, names = self._handler.row, {field.column.name for field in self._handler.row.fields}
        if row.open:
            return _upserts_of(dict) if all(column.type in AS_IT_IS for column in columns.values()) else None
        plain = all(AS_IT_IS.get(columns[name].type) is self._python(name) for name in names if name in columns)
        if not plain or not names.issuperset(self._key) or not (is_dataclass(row.type_) or _is_structure(row.type_)):
            return None
        try:
            return _upserts_of(row.type_)
        except TypeError:  # msgspec does not know all types of the fields
            return None

    def _python(self, name: str) -> Any:
        return next(field.python for field in self._handler.row.fields if field.column.name == name)


def _upserts_of(row: Any) -> Callable[[bytes], list[Any]]:
    """Return a function that decodes an array of upserts as rows of this type. MsgspecError when one is something else."""
    record = msgspec.defstruct("Record", [("upsert", row)], gc=False, forbid_unknown_fields=True)
    decode = msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]  # made here
    upsert = attrgetter("upsert")
    return lambda array: list(map(upsert, decode(array)))


def _is_structure(type_: Any) -> bool:
    """Whether this is a structure whose fields have their own names in JSON."""
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return False
    return all(field.encode_name == field.name for field in msgspec.structs.fields(type_))
