"""The lines of an Event File as records with the author's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.codec.values import from_json, refuse_wide_integers
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.schema import StreamSchema
from pipeline.kit.declared import Handler
from pipeline.kit.loading.python_values import DECODE_ERRORS, Decode, decoder_of, natural_decoder
from pipeline.kit.values import Delete, Upsert


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that is no row of the author's type: why, and in which column."""

    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record: its line and its number, its key as JSON text and for people, and what the author gets."""

    line: bytes
    number: int
    key: str
    is_delete: bool
    value: Upsert[Any] | Delete | Invalid


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
        self._wanted = [name for name in self._decoders if name in fields or handler.row.open]
        self.skipped_columns = tuple(name for name in columns if name not in self._wanted)

    def read(self, block: bytes, first_line: int, what: str) -> Iterator[Record]:
        """Yield the records of a block of whole lines. DamagedError names a line that is no record."""
        refuse_wide_integers(block, what)
        for number, line in enumerate(block.removesuffix(b"\n").split(b"\n"), first_line):
            yield self.read_one(line, number, what)

    def read_one(self, line: bytes, number: int, what: str) -> Record:
        """Return the record on one line, which has no line feed. DamagedError when it is no record."""
        try:
            ((kind, body),) = orjson.loads(line).items()
            key = orjson.dumps([body[name] for name in self._key]).decode()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedError(f"{what}, line {number} is not a record; export the stream again") from error
        return Record(line, number, key, kind == "delete", self._value(kind, body, number))

    def _value(self, kind: str, body: Mapping[str, Any], number: int) -> Upsert[Any] | Delete | Invalid:
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
