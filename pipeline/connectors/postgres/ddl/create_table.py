"""The statements that create a table and what it needs, from the description that schema/native.py makes.

The description comes from an Event File. Its SQL is run with the rights of the destination's user, as pg_restore runs
the SQL of a dump; but each text may hold one statement only (`run_single`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.connectors.postgres.schema.definitions import nameless
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal, qualified, quoted

Native = Mapping[str, Any]
"""The description of a table (docs/reference/postgresql.md), or a part of it."""
_OLDEST_WITH_UNLOGGED_SEQUENCES = 150000
_OLDEST_WITH_VIRTUAL = OLDEST_WITH_NOT_NULL_NAMES = 180000


def run_single(connection: Connection, statement: str) -> None:
    """Run a statement in PostgreSQL's extended protocol, which takes one statement and no more."""
    connection.execute(statement, binary=True)


def name_of(native: Native) -> tuple[str, str]:
    """Return schema and name of a table."""
    return native["schema"], native["table"]


def table_statements(native: Native, server_version: int) -> Iterator[str]:
    """Give the statements that create a table with its sequences, key and partitions."""
    yield from sequence_statements(native, server_version)
    name = qualified(*name_of(native))
    columns = [column_definition(column, native, server_version) for column in native["columns"]]
    key, afterwards = _key(native)
    unlogged = "UNLOGGED " if native.get("unlogged") else ""
    yield f"CREATE {unlogged}TABLE {name} ({', '.join([*columns, *key])}){_partition_by(native)}"
    yield from partition_statements(native, server_version)
    yield from afterwards
    for sequence in native.get("sequences", ()):
        if sequence["owned"] and not sequence["identity"] and sequence["column"] is not None:
            owned = qualified(sequence["schema"], sequence["name"])
            yield f"ALTER SEQUENCE {owned} OWNED BY {name}.{quoted(sequence['column'])}"


def sequence_statements(native: Native, server_version: int) -> Iterator[str]:
    """Give the statements that create the sequences of defaults, unless they exist."""
    for sequence in native.get("sequences", ()):
        if not sequence["identity"]:
            name = qualified(sequence["schema"], sequence["name"])
            is_unlogged = (
                native.get("unlogged") and sequence["owned"] and server_version >= _OLDEST_WITH_UNLOGGED_SEQUENCES
            )
            yield f"CREATE {'UNLOGGED ' if is_unlogged else ''}SEQUENCE IF NOT EXISTS {name} {sequence['options']}"


def partition_statements(native: Native, server_version: int) -> Iterator[str]:
    """Give the statements that create the partitions, in order."""
    for partition in native.get("partitions", ()):
        yield from new_partition(partition, server_version)


def new_partition(partition: Native, server_version: int) -> Sequence[str]:
    """Return the statement that creates a partition, or those that create a table and attach it: its columns are as there."""
    child, parent = qualified(*name_of(partition)), qualified(*partition["parent"])
    if "layout" in partition:
        own = ({**column, "default": None, "identity": ""} for column in partition["layout"])
        columns = ", ".join(column_definition(column, partition, server_version) for column in own)
        return (
            f"CREATE TABLE {child} ({columns}){_partition_by(partition)}",
            f"ALTER TABLE {parent} ATTACH PARTITION {child} {partition['bound']}",
        )
    names = _not_null_names(partition) if server_version >= OLDEST_WITH_NOT_NULL_NAMES else ""
    return (f"CREATE TABLE {child} PARTITION OF {parent}{names} {partition['bound']}{_partition_by(partition)}",)


def _not_null_names(partition: Native) -> str:
    """Return the NOT NULL that have other names than the parent's: it can name them only when it is created."""
    named = [it for it in partition.get("columns", ()) if it["not_null"] and it.get("not_null_name")]
    clauses = (f"CONSTRAINT {quoted(it['not_null_name'])} NOT NULL {quoted(it['name'])}" for it in named)
    return f" ({', '.join(clauses)})" if named else ""


def _partition_by(native: Native) -> str:
    return f" PARTITION BY {native['partition_by']}" if native.get("partition_by") else ""


def key_statements(native: Native) -> Iterator[str]:
    """Give the statement that adds the key to an existing table."""
    clauses, afterwards = _key(native)
    yield from (f"ALTER TABLE {qualified(*name_of(native))} ADD {clause}" for clause in clauses)
    yield from afterwards


def unnamed_key_statement(native: Native) -> str:
    """Return the statement that adds the key under a name that PostgreSQL chooses."""
    clauses, afterwards = _key(native)
    name = quoted(native["key"]["name"])
    for clause in clauses:
        return f"ALTER TABLE {qualified(*name_of(native))} ADD {clause.removeprefix(f'CONSTRAINT {name} ')}"
    return nameless(native["key"]["name"], afterwards[0])


def _key(native: Native) -> tuple[list[str], list[str]]:
    """Return the key: as clauses of CREATE TABLE, and as statements to run afterwards."""
    key = native.get("key")
    if key is None:
        return [], []
    for constraint in native.get("constraints", ()):
        if constraint["name"] == key["name"]:
            return [f"CONSTRAINT {quoted(key['name'])} {constraint['definition']}"], []
    return [], [index["definition"] for index in native.get("indexes", ()) if index["name"] == key["name"]]


def column_definition(column: Native, native: Native, server_version: int) -> str:
    """Return a column as a clause of CREATE TABLE."""
    parts = [quoted(column["name"]), column["type"]]
    if column.get("collation"):
        parts.append(f"COLLATE {column['collation']}")
    if generated := column.get("generated"):
        kind = generated["kind"] if server_version >= _OLDEST_WITH_VIRTUAL else "STORED"
        parts.append(f"GENERATED ALWAYS AS ({generated['expression']}) {kind}")
    elif column.get("identity"):
        parts.append(identity_clause(column, native))
    elif column.get("default") is not None:
        parts.append(f"DEFAULT {column['default']}")
    if column.get("not_null"):
        parts.append(not_null_clause(column, server_version))
    return " ".join(parts)


def not_null_clause(column: Native, server_version: int) -> str:
    """Return the NOT NULL of a column as a clause of CREATE TABLE."""
    if not column.get("not_null_name") or server_version < OLDEST_WITH_NOT_NULL_NAMES:
        return "NOT NULL"
    here = " NO INHERIT" if column.get("not_null_here") else ""
    return f"CONSTRAINT {quoted(column['not_null_name'])} NOT NULL{here}"


def identity_sequence(column: str, native: Native) -> Native | None:
    """Return the sequence of an identity column, None if the source does not tell."""
    found = (it for it in native.get("sequences", ()) if it["identity"] and it["column"] == column)
    return next(found, None)


def _identity_options(column: str, native: Native) -> str:
    sequence = identity_sequence(column, native)
    if sequence is None:
        return ""
    options = sequence["options"].split()
    kept = options[2:] if options[:1] == ["AS"] else options  # an identity column's sequence has its type
    return f" (SEQUENCE NAME {qualified(sequence['schema'], sequence['name'])} {' '.join(kept)})"


def identity_clause(column: Native, native: Native) -> str:
    """Return what makes a column an identity column, as ADD takes it."""
    return f"GENERATED {column['identity']} AS IDENTITY{_identity_options(column['name'], native)}"


def label_statements(labels: Sequence[str], present: Sequence[str], name: str) -> Iterator[str]:
    """Give the statements that add missing labels to an enum, each at its place in the order."""
    known = set(present)
    for place, label in enumerate(labels):
        if label in known:
            continue
        before = next((f" BEFORE {literal(other)}" for other in labels[place + 1 :] if other in known), "")
        yield f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS {literal(label)}{before}"
        known.add(label)
