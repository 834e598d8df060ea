"""After the load: indexes, AUTOINCREMENT numbers, and the foreign keys, which are checked once all streams are loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing

import apsw

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.sql.constraints import (
    EXAMPLE_ROWS,
    broken_reference,
    index_name,
    missing_constraints,
    missing_generated_columns,
    warn_unsupported,
)
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.loading.constraints_out import (
    has_index,
    index_statement,
    missing_defaults,
    unsupported_here,
)
from pipeline.connectors.sqlite.loading.schema_evolution import ManagedTables
from pipeline.connectors.sqlite.schema.indexes import read_foreign_keys
from pipeline.connectors.sqlite.schema.statements import AppCodeError, check_create_index, check_create_table
from pipeline.connectors.sqlite.schema.streams import sqlite_native
from pipeline.connectors.sqlite.schema.tables import create_sql, folded, read_table, sequence_of, table_names
from pipeline.connectors.sqlite.schema.tokens import app_collations_in, stored_columns_in
from pipeline.domain.constraints import UnsupportedConstraint
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation


def create_indexes(connection: apsw.Connection, managed: ManagedTables, schema: StreamSchema) -> Iterator[Violation]:
    """Create the indexes that the source has and the destination lacks. One that cannot be created is a violation."""
    stream = schema.stream
    create = create_sql(connection, stream)
    statements = sqlite_native(schema).get("indexes")
    if create is None or not isinstance(statements, list):
        return
    for statement in statements:
        try:
            name, text = check_create_index(statement, stream, create)
            if managed.frees_index(name, stream):
                connection.execute(text).fetchall()
        except AppCodeError:
            continue  # the inventory names it
        except ConfigurationError as error:
            yield Violation(stream, str(error))
        except (apsw.ConstraintError, apsw.SQLError) as error:
            yield Violation(stream, f"the index {str(statement)[:200]!r} cannot be made: {error}")


def create_constraints(
    connection: apsw.Connection, managed: ManagedTables, schema: StreamSchema
) -> Iterator[Violation]:
    """Create the indexes that a table of another technology lacks, and log unsupported constraints.

    An index that the table has already, under any name, is not created again. Yields what the rows violate.
    """
    stream = schema.stream
    if not connection.table_exists("main", stream):
        return
    unsupported = unsupported_here(connection, schema)
    for index in constraints_of(schema).indexes:
        name = index_name(stream, index)
        if has_index(connection, stream, index):
            continue
        try:
            if managed.frees_index(name, stream):
                connection.execute(index_statement(stream, index)).fetchall()
        except ConfigurationError as error:
            yield Violation(stream, str(error))
        except apsw.ConstraintError as error:
            yield Violation(stream, f"the index {name} cannot be made: {error}")
        except apsw.SQLError as error:
            unsupported.append(UnsupportedConstraint("index", name, str(error)))
    warn_unsupported(stream, unsupported)


def raise_sequence(connection: apsw.Connection, stream: StreamName, native: Mapping[str, object]) -> None:
    """Raise the last number of an AUTOINCREMENT table to the source's."""
    wanted = native.get("autoincrement_sequence")
    if not isinstance(wanted, int) or not _is_autoincrement(connection, stream):
        return
    table = read_table(connection, stream).name
    current = sequence_of(connection, table)
    if current is None:
        connection.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", (table, wanted))
    elif current < wanted:
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (wanted, table))


def _is_autoincrement(connection: apsw.Connection, table: str) -> bool:
    if not connection.table_exists("main", table):
        return False
    column = read_table(connection, table).rowid_column
    return column is not None and connection.column_metadata("main", table, column)[4]


def foreign_key_violations(connection: apsw.Connection, streams: Sequence[StreamName]) -> Iterator[Violation]:
    """Check the foreign keys of these tables, and of tables that refer to them."""
    touched = {folded(stream) for stream in streams}
    references = connection.execute(
        'SELECT DISTINCT child.name, keys."table" FROM pragma_table_list AS child, '
        "pragma_foreign_key_list(child.name, 'main') AS keys WHERE child.schema = 'main' AND child.type = 'table'"
    ).fetchall()
    tables = {str(child) for child, parent in references if touched & {folded(str(child)), folded(str(parent))}}
    for table in sorted(tables.intersection(table_names(connection))):
        try:
            yield from _violations_of(connection, table)
        except apsw.SQLError as error:
            yield Violation(StreamName(table), f"its foreign keys cannot be checked: {error}")


def _violations_of(connection: apsw.Connection, table: str) -> Iterator[Violation]:
    counts: dict[tuple[str, int], int] = defaultdict(int)
    examples: dict[tuple[str, int], list[str]] = defaultdict(list)
    for _, rowid, parent, number in connection.execute(f"PRAGMA main.foreign_key_check({quoted(table)})"):
        key = (parent, number)
        counts[key] += 1
        if rowid is not None and len(examples[key]) < EXAMPLE_ROWS:
            examples[key].append(str(rowid))
    columns = {key.id: key.columns for key in read_foreign_keys(connection, table)}
    for (parent, number), count in counts.items():
        message = broken_reference(count, columns[number], parent, examples[parent, number], "rowid ")
        yield Violation(StreamName(table), message, tuple(columns[number]))


def table_items(connection: apsw.Connection, schemas: Sequence[StreamSchema]) -> list[InventoryItem]:
    """Return what of these streams' tables and indexes is not as at the source."""
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    names, present = {folded(str(name)) for name, _ in rows}, {str(sql) for _, sql in rows}
    return [
        item
        for schema in schemas
        if (here := create_sql(connection, schema.stream))
        for item in (
            *_table_items(schema, here),
            *_index_items(schema, here, names, present),
            *_column_items(connection, schema),
            *_own_column_items(connection, schema),
        )
    ]


def _column_items(connection: apsw.Connection, schema: StreamSchema) -> Iterator[InventoryItem]:
    """Give the generated columns and constraints of a stream of another technology that its table lacks."""
    if sqlite_native(schema):
        return
    constraints = constraints_of(schema)
    if constraints.unsupported:
        columns = [column.name for column in read_table(connection, schema.stream).columns]
        yield from missing_generated_columns(schema, constraints, columns)
    missing = unsupported_here(connection, schema)
    yield from missing_constraints(schema.stream, [*missing, *missing_defaults(connection, schema)])


def _own_column_items(connection: apsw.Connection, schema: StreamSchema) -> Iterator[InventoryItem]:
    """Give the columns whose values the destination alone decides on.

    It computes some that have values at the source; new rows have NULL in others, whose defaults only the app can compute.
    """
    query = "SELECT name, dflt_value, hidden FROM pragma_table_xinfo(?) WHERE dflt_value LIKE '%(%' OR hidden > 1"
    known = {folded(name) for name in schema.column_names}
    for name, default, hidden in connection.execute(query, (schema.stream,)).fetchall():
        if folded(str(name)) in known:
            if hidden:
                reason = (
                    "the destination computes this column, so values of the source are not moved; make it a plain one"
                )
                yield InventoryItem("generated column", f"{schema.stream}.{name}", Fate.NOT_MOVED, reason)
            continue
        if hidden:
            continue
        try:
            with closing(apsw.Connection(":memory:")) as scratch:
                scratch.execute(f"EXPLAIN SELECT {default}").close(force=True)
        except apsw.SQLError as error:
            reason = f"only the app can compute it ({error}), so new rows have NULL; let the app fill the column"
            yield InventoryItem("default", f"{schema.stream}.{name}", Fate.NOT_MOVED, reason)


def _table_items(schema: StreamSchema, here: str) -> Iterator[InventoryItem]:
    """Give what is not in the statement of a table that was created from the source's."""
    source = str(sqlite_native(schema).get("create_table", ""))
    collations = set(app_collations_in(source)) - set(app_collations_in(here))
    fewer_stored = stored_columns_in(source) > stored_columns_in(here)
    if not (collations or fewer_stored) or here != check_create_table(source, schema.stream):
        return
    for name in sorted(collations):
        reason = (
            "only the app knows it, and a key of the table would be in its order; text is in the order of its bytes"
        )
        yield InventoryItem("collation", f"{schema.stream}: {name}", Fate.NOT_MOVED, reason)
    if fewer_stored:
        reason = "it is computed when it is read: it calls a function that only the app knows"
        yield InventoryItem("generated column", schema.stream, Fate.OTHER_FORM, reason)


def _index_items(schema: StreamSchema, here: str, names: Set[bytes], present: Set[str]) -> Iterator[InventoryItem]:
    statements = sqlite_native(schema).get("indexes")
    for statement in statements if isinstance(statements, list) else ():
        if statement not in present:
            try:
                check_create_index(statement, schema.stream, here)
            except AppCodeError as error:
                if folded(error.name) not in names:
                    yield InventoryItem("index", error.name, Fate.NOT_MOVED, str(error))
            except ConfigurationError:  # `finish` reports it
                continue
