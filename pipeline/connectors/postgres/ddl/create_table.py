"""The statements that make a table, and what it needs first, from the description that catalog.py documents.

What is described comes from an Event File. SQL in it is run with the rights of the destination's user, as pg_restore runs
what a dump holds; so each text may be one statement only, which the extended protocol of PostgreSQL sees to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.connectors.postgres.session.connection import qualified, quoted

Native = Mapping[str, Any]
_ALWAYS_THERE = ("public", "pg_catalog")
_OLDEST_WITH_VIRTUAL = 180000


def prerequisites(native: Native) -> Iterator[str]:
    """Give the statements for schemas and extensions that may be missing. Each may be run when they are there."""
    for schema in native.get("schemas", ()):
        if schema not in _ALWAYS_THERE:
            yield f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"
    for extension in native.get("extensions", ()):
        yield f"CREATE EXTENSION IF NOT EXISTS {quoted(extension)} SCHEMA public"


def sequences(native: Native) -> Iterator[str]:
    """Give the statements for the sequences that defaults use."""
    for sequence in native.get("sequences", ()):
        if not sequence["identity"]:
            name = qualified(sequence["schema"], sequence["name"])
            yield f"CREATE SEQUENCE IF NOT EXISTS {name} {sequence['options']}"


def owned_sequences(native: Native) -> Iterator[str]:
    """Give the statements that let columns own their sequences, once the table is there."""
    table = qualified(native["schema"], native["table"])
    for sequence in native.get("sequences", ()):
        if sequence["owned"] and not sequence["identity"] and sequence["column"] is not None:
            name = qualified(sequence["schema"], sequence["name"])
            yield f"ALTER SEQUENCE {name} OWNED BY {table}.{quoted(sequence['column'])}"


def create_table(native: Native, server_version: int) -> Iterator[str]:
    """Give the statements that make the table, its key and its partitions."""
    name = qualified(native["schema"], native["table"])
    columns = [column_definition(column, native, server_version) for column in native["columns"]]
    key, after = _key(native)
    unlogged = "UNLOGGED " if native.get("unlogged") else ""
    yield f"CREATE {unlogged}TABLE {name} ({', '.join([*columns, *key])}){_partition_by(native)}"
    yield from partitions(native)
    yield from after


def partitions(native: Native) -> Iterator[str]:
    """Give the statements for all partitions, in their order."""
    for partition in native.get("partitions", ()):
        parent = qualified(*partition["parent"])
        child = qualified(partition["schema"], partition["table"])
        yield f"CREATE TABLE {child} PARTITION OF {parent} {partition['bound']}{_partition_by(partition)}"


def _partition_by(native: Native) -> str:
    return f" PARTITION BY {native['partition_by']}" if native.get("partition_by") else ""


def _key(native: Native) -> tuple[list[str], list[str]]:
    """Return what identifies a row: as parts of CREATE TABLE, and as statements for afterwards."""
    key = native.get("key")
    if key is None:
        return [], []
    for constraint in native.get("constraints", ()):
        if constraint["name"] == key["name"]:
            return [f"CONSTRAINT {quoted(key['name'])} {constraint['definition']}"], []
    return [], [index["definition"] for index in native.get("indexes", ()) if index["name"] == key["name"]]


def column_definition(column: Native, native: Native, server_version: int) -> str:
    """Return a column as CREATE TABLE has it."""
    parts = [quoted(column["name"]), column["type"]]
    if column.get("collation"):
        parts.append(f"COLLATE {column['collation']}")
    if generated := column.get("generated"):
        kind = generated["kind"] if server_version >= _OLDEST_WITH_VIRTUAL else "STORED"
        parts.append(f"GENERATED ALWAYS AS ({generated['expression']}) {kind}")
    elif column.get("identity"):
        parts.append(f"GENERATED {column['identity']} AS IDENTITY{_identity_options(column['name'], native)}")
    elif column.get("default") is not None:
        parts.append(f"DEFAULT {column['default']}")
    if column.get("not_null"):
        parts.append("NOT NULL")
    return " ".join(parts)


def _identity_options(column: str, native: Native) -> str:
    for sequence in native.get("sequences", ()):
        if sequence["identity"] and sequence["column"] == column:
            options = sequence["options"].split()
            kept = options[2:] if options[:1] == ["AS"] else options  # an identity column's sequence has its type
            return f" (SEQUENCE NAME {qualified(sequence['schema'], sequence['name'])} {' '.join(kept)})"
    return ""


def missing_labels(labels: Sequence[str], present: Sequence[str], name: str) -> Iterator[str]:
    """Give the statements that add to an enum the labels that it lacks, each where it belongs in the order."""
    known = set(present)
    for place, label in enumerate(labels):
        if label in known:
            continue
        before = next((f" BEFORE {_literal(other)}" for other in labels[place + 1 :] if other in known), "")
        yield f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS {_literal(label)}{before}"
        known.add(label)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
