"""The lines of an Event File as records with the author's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.codec.values import from_json, refuse_wide_integers
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.schema import StreamSchema
from pipeline.kit.declared import Handler
from pipeline.kit.loading.python_values import AS_IT_IS, DECODE_ERRORS, Decode, decoder_of, natural_decoder
from pipeline.kit.values import Delete, Upsert


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that is no row of the author's type: why, and in which column."""

    reason: str
    column: str | None = None


@dataclass(slots=True)
class Record:
    """A record: its line and its number, its key as JSON values, and what the author gets."""

    line: bytes
    number: int
    raw_key: Sequence[object]
    is_delete: bool
    value: Upsert[Any] | Delete | Invalid

    @property
    def key(self) -> str:
        """The key as JSON text, as people see it."""
        return orjson.dumps(self.raw_key).decode()


class RecordReader:
    """Reads the records of one stream for a handler.

    ConfigurationError when the handler's row has a field without a default that the stream does not have.
    """

    def __init__(self, handler: Handler, schema: StreamSchema) -> None:
        self._handler = handler
        self._key = schema.primary_keys
        columns = {column.name: column for column in schema.columns}
        fields = {field.column.name: field for field in handler.row.fields}
        missing = [name for name, field in fields.items() if field.required and name not in columns]
        if missing:
            raise ConfigurationError(
                f"{handler.line}: the stream {schema.stream!r} has no column {', '.join(map(repr, missing))}, which the row "
                f"of its handler needs. It has: {', '.join(columns)}. Give the field a default, or another name."
            )
        self._decoders: dict[str, tuple[Decode, bool]] = {}
        for name, column in columns.items():
            if name in fields:
                self._decoders[name] = decoder_of(fields[name], column), fields[name].column.nullable
            elif handler.row.open or name in self._key:
                self._decoders[name] = natural_decoder(column), True
        self._as_is = handler.row.open and all(column.type in AS_IT_IS for column in columns.values())
        self._wanted = [name for name in self._decoders if name in fields or handler.row.open]
        self.skipped_columns = tuple(name for name in columns if name not in self._wanted)

    def read(self, block: bytes, first_line: int, what: str) -> Iterator[Record]:
        """Yield the records of a block of whole lines. DamagedError names a line that is no record.

        No JSON text contains a line feed, so the lines are parsed as one array, which is faster than one by one.
        """
        refuse_wide_integers(block, what)
        lines = block.removesuffix(b"\n").split(b"\n")
        try:
            parsed = orjson.loads(b"[%b]" % b",".join(lines))
        except orjson.JSONDecodeError:
            parsed = []
        if len(parsed) != len(lines):
            parsed = [self._parse(line, number, what) for number, line in enumerate(lines, first_line)]
        for number, (line, record) in enumerate(zip(lines, parsed, strict=True), first_line):
            yield self._record(record, line, number, what)

    def read_one(self, line: bytes, number: int, what: str) -> Record:
        """Return the record on one line, which has no line feed. DamagedError when it is no record."""
        return self._record(self._parse(line, number, what), line, number, what)

    @staticmethod
    def _parse(line: bytes, number: int, what: str) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _no_record(number, what) from error

    def _record(self, record: Any, line: bytes, number: int, what: str) -> Record:
        try:
            ((kind, body),) = record.items()
            key = [body[name] for name in self._key]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _no_record(number, what) from error
        return Record(line, number, key, kind == "delete", self._value(kind, body, number))

    def _value(self, kind: str, body: dict[str, Any], number: int) -> Upsert[Any] | Delete | Invalid:
        if self._as_is and kind == "upsert" and dict not in map(type, body.values()):
            key = tuple([body[name] for name in self._key])
            return Upsert(key if len(key) > 1 else key[0], body, number)
        name = ""
        try:
            values: dict[str, Any] = {}
            for name in self._key if kind == "delete" else self._decoders:
                decode, nullable = self._decoders[name]
                written = body.get(name)
                if written is None and not nullable:
                    return Invalid(f"the column {name!r} is NULL, which the row of the handler does not allow", name)
                values[name] = None if written is None else decode(from_json(written))
        except (*DECODE_ERRORS, DamagedError) as error:
            return Invalid(f"the column {name!r} holds {error}", name)
        key = tuple([values[name] for name in self._key])
        if kind == "delete":
            return Delete(key if len(key) > 1 else key[0], number)
        try:
            row = self._handler.row.make({name: values[name] for name in self._wanted})
        except Exception as error:  # noqa: BLE001  # a row type checks its values, and raises what it likes
            return Invalid(f"{type(error).__name__}: {error}")
        return Upsert(key if len(key) > 1 else key[0], row, number)


def _no_record(number: int, what: str) -> DamagedError:
    return DamagedError(f"{what}, line {number} is not a record; export the stream again")
