"""How records hold values of PostgreSQL's types: the column type of the format, and the form in JSON.

docs/reference/postgresql.md has the table. Any other type is a string in PostgreSQL's own text form under the settings
`connection.SESSION`: that is exact for every type, and reads back as the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """How JSON holds a value."""

    NUMBER = "number"
    """An integer: its text is JSON."""
    BOOLEAN = "boolean"
    FLOAT = "float"
    """A number with a fraction or an exponent; NaN and the infinities as `{"$float": …}`."""
    BYTES = "bytes"
    """`{"$bytes": …}`, base64."""
    TEXT = "text"
    """A string: the value itself."""
    PLAIN = "plain"
    """A string: PostgreSQL's text of the value, which never needs escapes."""
    ESCAPED = "escaped"
    """A string: PostgreSQL's text of the value, with JSON's escapes."""
    MONEY = "money"
    """A string: the amount as a plain decimal number, without currency and grouping."""


@dataclass(frozen=True, slots=True)
class WireType:
    """How records hold values of a type. `column_type` is the format's name for it (docs/reference/event-files.md).

    `native_order`: PostgreSQL sorts the type as `pipeline.domain.keys.order` does, so an index gives the order.
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
"""Types of the schema pg_catalog. Those not named here are `_OTHER`."""

_ARRAY = WireType("array", Form.ESCAPED)
_OTHER = WireType("text", Form.ESCAPED)
"""Enums, ranges, composite types, `regclass` and the like, types of extensions."""


def wire_type(schema: str, name: str, kind: str) -> WireType:
    """Return how records hold values of a type that is no domain.

    `kind` is `typtype` of pg_type, or `a` for an array.
    """
    if kind == "a":
        return _ARRAY
    return _BY_NAME.get(name, _OTHER) if schema == "pg_catalog" else _OTHER
