"""Streams of other technologies, SQLite's above all, as tables of PostgreSQL: a stated mapping, column by column.

docs/reference/postgresql.md has the table. A value that the chosen type cannot hold is refused by PostgreSQL and set
aside with its words; no value is bent to fit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import Column, StreamSchema

_TYPES = {
    "integer": "bigint",
    "real": "double precision",
    "text": "text",
    "bytes": "bytea",
    "boolean": "boolean",
    "decimal": "numeric",
    "json": "json",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "date": "date",
    "time": "time",
    "timetz": "timetz",
    "interval": "interval",
    "uuid": "uuid",
    "varchar": "text",
}
"""By the format's name for a column's type. What is not here becomes text."""

_WORDS_FOR_TEXT = " TEXT"
"""So end the declared types of what an SQLite destination keeps as text of a type of its own (`DECIMAL TEXT`)."""
_NUMERIC = re.compile(r"\s*(NUMERIC|DECIMAL|DEC)\b", re.I)
_BOOLEAN = re.compile(r"\s*BOOL", re.I)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_STRING = re.compile(r"'([^']|'')*'")
_BLOB = re.compile(r"[xX]'(([0-9A-Fa-f]{2})*)'")
_MAX_NAME_BYTES = 63
_DIGEST_DIGITS = 8
SCHEMA = "public"
"""Where the tables of other technologies are."""


def described(schema: StreamSchema) -> Mapping[str, Any]:
    """Return the stream as catalog.py describes a table: in the schema `public`, with the stream's name and key."""
    for name in (schema.stream, *schema.column_names):
        _check_name(name, schema)
    key = schema.primary_keys
    columns = [_column(column, schema) for column in schema.columns]
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in key)
    constraint = {"name": fitting(f"{schema.stream}_pkey"), "kind": "primary", "definition": f"PRIMARY KEY ({names})"}
    return {
        "schema": SCHEMA,
        "table": schema.stream,
        "columns": columns,
        "key": {"name": constraint["name"], "columns": list(key), "kind": "primary"},
        "row_key": None,
        "constraints": [constraint],
        "row_numbers": _row_numbers(schema),
    }


def fitting(name: str) -> str:
    """Return a name of at most 63 bytes: a longer one is cut, and ends in a digest of all of it."""
    data = name.encode()
    if len(data) <= _MAX_NAME_BYTES:
        return name
    kept = data[: _MAX_NAME_BYTES - _DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(data).hexdigest()[:_DIGEST_DIGITS]}"


def _row_numbers(schema: StreamSchema) -> dict[str, object] | None:
    """Return the column by which SQLite numbers rows, and the last number given out where it remembers that."""
    for column in schema.columns:
        if _is_row_number(column, schema):
            native = schema.native["sqlite"]
            last = native.get("autoincrement_sequence") if isinstance(native, Mapping) else None
            return {"column": column.name, "last": last if isinstance(last, int) else None}
    return None


def _check_name(name: str, schema: StreamSchema) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or "\0" in name or not name:
        raise ConfigurationError(
            f"Stream {schema.stream} cannot be loaded: PostgreSQL takes names of 1 to {_MAX_NAME_BYTES} bytes, and "
            f"{name!r} is none; leave the stream out with --exclude"
        )


def _column(column: Column, schema: StreamSchema) -> dict[str, object]:
    kind = column_type(column, is_key=column.name in schema.primary_keys)
    is_serial = _is_row_number(column, schema)
    return {
        "name": column.name,
        "type": kind,
        "not_null": not column.nullable or column.name in schema.primary_keys,
        "default": None if is_serial else literal_default(column.default, kind),
        "identity": "BY DEFAULT" if is_serial else "",
        "generated": None,
        "collation": '"pg_catalog"."C"' if kind == "text" and column.name in schema.primary_keys else None,
    }


def column_type(column: Column, *, is_key: bool) -> str:
    """Return PostgreSQL's type for a column.

    SQLite's columns without a type of their own (`any`) hold what each row likes: declared as decimal or boolean they
    become just that, other declared ones text, and those declared without a type JSON, which says what each value is.
    """
    if column.type == "binary":
        raise ConfigurationError(
            f"Column {column.name} holds files, which PostgreSQL has no place for; move the files into a directory"
        )
    if column.type == "text" and column.native_type.endswith(_WORDS_FOR_TEXT):
        return _TYPES.get(column.native_type.removesuffix(_WORDS_FOR_TEXT).lower(), "text")
    if column.type != "any":
        return _TYPES.get(column.type, "text")
    if _NUMERIC.match(column.native_type):
        return "numeric"
    if _BOOLEAN.match(column.native_type):
        return "boolean"
    if column.native_type and column.native_type.upper() != "ANY":
        return "text"
    return "jsonb" if is_key else "json"


def _is_row_number(column: Column, schema: StreamSchema) -> bool:
    """Whether SQLite numbers the rows by this column: INTEGER PRIMARY KEY."""
    return (
        "sqlite" in schema.native and schema.primary_keys == (column.name,) and column.native_type.upper() == "INTEGER"
    )


def literal_default(default: str | None, kind: str) -> str | None:
    """Return a default that is a plain literal as PostgreSQL writes it for this type; None for any other."""
    if default is None:
        return None
    reads: Mapping[str, Callable[[str], str | None]] = {
        "bigint": lambda text: text if re.fullmatch(r"[+-]?\d{1,18}", text) else None,
        "double precision": lambda text: text if _NUMBER.fullmatch(text) else None,
        "numeric": lambda text: text if _NUMBER.fullmatch(text) else None,
        "text": lambda text: text if _STRING.fullmatch(text) else None,
        "bytea": _blob,
        "boolean": lambda text: {"0": "false", "1": "true", "FALSE": "false", "TRUE": "true"}.get(text.upper()),
    }
    read = reads.get(kind)
    return None if read is None else read(default.strip())


def _blob(text: str) -> str | None:
    found = _BLOB.fullmatch(text)
    return None if found is None else f"'\\x{found[1]}'"
