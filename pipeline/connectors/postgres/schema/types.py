"""How PostgreSQL's types are written in records: which of the format's column types each has, and how JSON holds it.

docs/reference/postgresql.md has the table. What has no place of its own is a string in PostgreSQL's own text form
under the session settings of `connection.SESSION`: that is exact for every type, and reads back as the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """How a value stands in JSON."""

    NUMBER = "number"
    """An integer: its text is JSON."""
    BOOLEAN = "boolean"
    FLOAT = "float"
    """A number with a fraction or an exponent; NaN and the infinities as `{"$float": …}`."""
    BYTES = "bytes"
    """`{"$bytes": …}`, base64."""
    TEXT = "text"
    """A string that holds the value itself."""
    PLAIN = "plain"
    """A string that holds PostgreSQL's text of the value, in which nothing ever needs escaping."""
    ESCAPED = "escaped"
    """A string that holds PostgreSQL's text of the value, escaped as JSON wants it."""
    MONEY = "money"
    """A string that holds the amount as a plain decimal number, without currency and grouping."""


@dataclass(frozen=True, slots=True)
class WireType:
    """How values of a type are written. `column_type` is the format's name for it (docs/reference/event-files.md).

    `native_order`: PostgreSQL's own order of the type is that of `pipeline.domain.keys.order`, so that an index serves.
    """

    column_type: str
    form: Form
    native_order: bool = False


_BY_NAME: dict[str, WireType] = {
    "int2": WireType("integer", Form.NUMBER, native_order=True),
    "int4": WireType("integer", Form.NUMBER, native_order=True),
    "int8": WireType("integer", Form.NUMBER, native_order=True),
    "oid": WireType("integer", Form.NUMBER, native_order=True),
    "bool": WireType("boolean", Form.BOOLEAN, native_order=True),
    "float4": WireType("real", Form.FLOAT, native_order=True),
    "float8": WireType("real", Form.FLOAT, native_order=True),
    "bytea": WireType("bytes", Form.BYTES, native_order=True),
    "text": WireType("text", Form.TEXT),
    "varchar": WireType("text", Form.TEXT),
    "bpchar": WireType("text", Form.TEXT),
    "name": WireType("text", Form.TEXT),
    "numeric": WireType("decimal", Form.PLAIN),
    "money": WireType("decimal", Form.MONEY),
    "json": WireType("json", Form.ESCAPED),
    "jsonb": WireType("json", Form.ESCAPED),
    "timestamp": WireType("timestamp", Form.PLAIN),
    "timestamptz": WireType("timestamptz", Form.PLAIN),
    "date": WireType("date", Form.PLAIN),
    "time": WireType("time", Form.PLAIN),
    "timetz": WireType("timetz", Form.PLAIN),
    "interval": WireType("interval", Form.PLAIN),
    "uuid": WireType("uuid", Form.PLAIN, native_order=True),
    "inet": WireType("text", Form.PLAIN),
    "cidr": WireType("text", Form.PLAIN),
    "macaddr": WireType("text", Form.PLAIN),
    "macaddr8": WireType("text", Form.PLAIN),
    "bit": WireType("text", Form.PLAIN),
    "varbit": WireType("text", Form.PLAIN),
    "xml": WireType("text", Form.ESCAPED),
    "tsvector": WireType("text", Form.ESCAPED),
    "tsquery": WireType("text", Form.ESCAPED),
}
"""Base types of the schema pg_catalog. Those not named here are `_OTHER`."""

_ARRAY = WireType("array", Form.ESCAPED)
_OTHER = WireType("text", Form.ESCAPED)
"""Enums, ranges, composite types, `regclass` and its like, types of extensions."""


def wire_type(schema: str, name: str, kind: str) -> WireType:
    """Return how values of a type are written that is no domain (of a domain, its base type counts).

    `kind` is `typtype` of pg_type, or `a` for an array.
    """
    match kind:
        case "a":
            return _ARRAY
        case "e" | "r" | "m":
            return _OTHER
        case _:
            return _BY_NAME.get(name, _OTHER) if schema == "pg_catalog" else _OTHER
