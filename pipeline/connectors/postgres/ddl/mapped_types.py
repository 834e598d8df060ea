"""Types of other technologies, above all SQLite's, mapped to PostgreSQL: a table for each of their streams.

docs/reference/postgresql.md has the mapping. PostgreSQL rejects a value that the chosen type cannot hold; no value is
altered to fit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pipeline.connectors.postgres.ddl.across.defaults import local_default
from pipeline.connectors.sql.identifiers import quoted_list
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import Column, StreamSchema

SCHEMA = "public"
"""The schema for the tables of other technologies."""
_TYPES = {
    "integer": "bigint",
    "real": "double precision",
    "text": "text",
    "bytes": "bytea",
    "boolean": "boolean",
    "decimal": "numeric",
    **{it: it for it in ("json", "timestamp", "timestamptz", "date", "time", "timetz", "interval", "uuid")},
}
"""By the format's name for a column's type. Others become text."""

_TEXT_SUFFIX = " TEXT"
"""Ends the declared types that an SQLite destination gives to text of another type (`DECIMAL TEXT`)."""
_NUMERIC = re.compile(r"\s*(NUMERIC|DECIMAL|DEC)\b", re.I)
_BOOLEAN = re.compile(r"\s*BOOL", re.I)
_MAX_NAME_BYTES = 63
_DIGEST_DIGITS = 8


def mapped_table(schema: StreamSchema) -> Mapping[str, Any]:
    """Return a description of the stream's table, with the stream's name and key, in the schema `public`."""
    key = schema.primary_keys
    for name in (schema.stream, *schema.column_names):
        if len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or "\0" in name or not name:
            raise ConfigurationError(
                f"Stream {schema.stream} cannot be loaded: PostgreSQL's names have 1 to {_MAX_NAME_BYTES} bytes, unlike "
                f"{name!r}; leave the stream out with --exclude"
            )
    definition = f"PRIMARY KEY ({quoted_list(key)})"
    constraint = {"name": fitting(f"{schema.stream}_pkey"), "kind": "primary", "definition": definition}
    numbers = _row_numbers(schema)
    return {
        "schema": SCHEMA,
        "table": schema.stream,
        "columns": [_column(it, is_key=it.name in key, has_row_numbers=numbers is not None) for it in schema.columns],
        "key": {"name": constraint["name"], "columns": list(key), "kind": "primary"},
        "row_key": None,
        "constraints": [constraint],
        "row_numbers": numbers,
    }


def fitting(name: str) -> str:
    """Return a name of at most 63 bytes: a longer one is cut and ends in a digest of the whole."""
    data = name.encode()
    if len(data) <= _MAX_NAME_BYTES:
        return name
    kept = data[: _MAX_NAME_BYTES - _DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(data).hexdigest()[:_DIGEST_DIGITS]}"


def _row_numbers(schema: StreamSchema) -> dict[str, object] | None:
    """Return the INTEGER PRIMARY KEY by which SQLite numbers rows, and the last number given out, if it remembers that."""
    keys = [
        it.name for it in schema.columns if (it.name,) == schema.primary_keys and it.native_type.upper() == "INTEGER"
    ]
    if not keys or "sqlite" not in schema.native:
        return None
    native = schema.native["sqlite"]
    last = native.get("autoincrement_sequence") if isinstance(native, Mapping) else None
    return {"column": keys[0], "last": last if isinstance(last, int) else None}


def _column(column: Column, *, is_key: bool, has_row_numbers: bool) -> dict[str, object]:
    type_ = column_type(column, is_key=is_key)
    is_row_number = is_key and has_row_numbers  # which are a key of one column
    return {
        "name": column.name,
        "type": type_,
        "not_null": not column.nullable or is_key,
        "default": None if is_row_number else local_default(column.default, type_),
        "source_default": column.default,
        "identity": "BY DEFAULT" if is_row_number else "",
        "generated": None,
        "collation": '"pg_catalog"."C"' if type_ == "text" and is_key else None,
    }


def column_type(column: Column, *, is_key: bool) -> str:
    """Return PostgreSQL's type for a column.

    An SQLite column of the type `any` may hold another kind of value in each row. If it is declared as decimal or
    boolean, it becomes just that; with any other declared type, text; without one, JSON, which keeps the kind of a value.
    """
    if column.type == "binary":
        raise ConfigurationError(
            f"Column {column.name} holds files, which PostgreSQL cannot store; move the files into a directory"
        )
    if column.type == "text" and column.native_type.endswith(_TEXT_SUFFIX):
        return _TYPES.get(column.native_type.removesuffix(_TEXT_SUFFIX).lower(), "text")
    if column.type != "any":
        return _TYPES.get(column.type, "text")
    if _NUMERIC.match(column.native_type):
        return "numeric"
    if _BOOLEAN.match(column.native_type):
        return "boolean"
    if column.native_type and column.native_type.upper() != "ANY":
        return "text"
    return "jsonb" if is_key else "json"
