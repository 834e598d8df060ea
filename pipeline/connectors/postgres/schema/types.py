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
    **dict.fromkeys(("int2", "int4", "int8", "oid"), WireType("integer", Form.NUMBER, native_order=True)),
    **dict.fromkeys(("float4", "float8"), WireType("real", Form.FLOAT, native_order=True)),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), WireType("text", Form.TEXT)),
    **dict.fromkeys(("json", "jsonb"), WireType("json", Form.ESCAPED)),
    **{it: WireType(it, Form.PLAIN) for it in ("timestamp", "timestamptz", "date", "time", "timetz", "interval")},
    **dict.fromkeys(("inet", "cidr", "macaddr", "macaddr8", "bit", "varbit"), WireType("text", Form.PLAIN)),
    "bool": WireType("boolean", Form.BOOLEAN, native_order=True),
    "bytea": WireType("bytes", Form.BYTES, native_order=True),
    "numeric": WireType("decimal", Form.PLAIN),
    "money": WireType("decimal", Form.MONEY),
    "uuid": WireType("uuid", Form.PLAIN, native_order=True),
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
