"""The table of a stream, before its first record: created with what it needs, or extended to the stream's columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import Protocol

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl import constraints_out
from pipeline.connectors.postgres.ddl.create_table import (
    Native,
    column_definition,
    key_statements,
    name_of,
    run_single,
    sequence_statements,
    table_statements,
    unnamed_key_statement,
)
from pipeline.connectors.postgres.ddl.evolution.columns import ColumnEvolution
from pipeline.connectors.postgres.ddl.evolution.constraints import (
    ForeignKeyName,
    definitions_by_table,
    drop_former_constraints,
)
from pipeline.connectors.postgres.ddl.evolution.dependents import make_room
from pipeline.connectors.postgres.ddl.evolution.names import belongs_elsewhere, names_at_creation, take_name
from pipeline.connectors.postgres.ddl.evolution.partitions import (
    FlowTables,
    PartitionEvolution,
    add_partitions,
    detach,
    follow_partition_columns,
    parent_of,
    stand_in,
)
from pipeline.connectors.postgres.ddl.evolution.sequences import follow_sequences, own_sequences
from pipeline.connectors.postgres.ddl.evolution.types import untype
from pipeline.connectors.postgres.ddl.mapped_types import mapped_table
from pipeline.connectors.postgres.ddl.prerequisites import create_prerequisites
from pipeline.connectors.postgres.ddl.target_table import TargetTable, read_table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted, quoted_list
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema


class FlowLedger(Protocol):
    """What a Flow has created in the database."""

    def schemas(self) -> Sequence[StreamSchema]:
        """Return the latest schema of each stream."""
        ...

    def created(self) -> Set[StreamName]:
        """Return the streams whose tables it has created."""
        ...

    def ours(self) -> Set[StreamName]:
        """Return the streams whose tables had no rows before the Flow's first load."""
        ...

    def created_objects(self) -> Collection[ObjectId]:
        """Return the schema objects that it has created."""
        ...

    def former_partitions(self) -> Mapping[StreamName, Sequence[int]]:
        """Return the object ids of partitions that the source has no more, by stream."""
        ...


def postgres_native(schema: StreamSchema) -> Native:
    """Return a PostgreSQL source's description of the stream's table, or the one that another source's maps to."""
    native = schema.native.get("postgresql")
    return native if isinstance(native, Mapping) else mapped_table(schema)


def ensure_table(
    connection: Connection, schema: StreamSchema, ledger: FlowLedger, before: StreamSchema | None = None
) -> tuple[TargetTable, bool]:
    """Create or extend the stream's table in the connection's transaction; return it, and whether it had no rows.

    With `before`, the stream's previous schema, the table follows what has changed since. A column that
    may not be added for want of a privilege is left out. ConfigurationError when an existing table does not fit.
    """
    native = postgres_native(schema)
    _check_description(native, schema)
    constraints_of(schema)  # unreadable ones are an error of this file, not of the end of the Movement
    table = _read_table(connection, native, schema.stream, ledger)
    parent = None if table is None else parent_of(connection, name_of(native))
    if table is not None and parent is not None:
        if before == schema:  # it has become a partition at the source: its rows are those of the partitioned table
            return stand_in(connection, table, schema.stream), True
        if parent not in created_tables(ledger):
            raise ConfigurationError(
                f"Stream {schema.stream} cannot be loaded: {table.sql} of the destination is a partition of {parent}, which it "
                f"is not at the source. Run ALTER TABLE {parent} DETACH PARTITION {table.sql}, and move again"
            )
        detach(connection, table, _foreign_keys(ledger))
    former = {} if before is None else postgres_native(before)
    create_prerequisites(connection, native, former, ledger.created_objects, partial(tables_of_ours, ledger))
    if table is None:
        _create(connection, native, ledger)
        was_empty = True
    else:
        was_empty = _is_empty(connection, table)
        renamed: Mapping[str, str] = {}
        if before is not None and before != schema:
            renamed = _follow(connection, table, before, schema, ledger)
            table = existing_table(connection, schema)
        added = [column for column in native["columns"] if column["name"] not in table.columns]
        for column in added:
            _add_column(connection, table, column, native)
            if column["name"] in renamed and column["name"] in schema.primary_keys:
                _fill_key(connection, table, column, renamed[column["name"]])
        if renamed:
            own_sequences(connection, native)
        if before is not None:
            _ensure_key(connection, table, native, ledger)
        elif native.get("row_key") is None and {column["name"] for column in added} & set(schema.primary_keys):
            _index_key(connection, table, schema.primary_keys)
        add_partitions(connection, native)
    return existing_table(connection, schema), was_empty


def _is_empty(connection: Connection, table: TargetTable) -> bool:
    """Whether a table has no row; False if row-level security does not let us see that."""
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        return connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table.sql})").fetchone() == (True,)
    return False


def _read_table(connection: Connection, native: Native, stream: StreamName, ledger: FlowLedger) -> TargetTable | None:
    """Return the table, None when there is none: what has lost its name at the source gives it up."""
    try:
        return read_table(connection, *name_of(native), stream)
    except ConfigurationError:
        make_room(connection, name_of(native), ledger.created_objects)
        take_name(connection, name_of(native), partial(tables_of_ours, ledger))
        return read_table(connection, *name_of(native), stream)


def existing_table(connection: Connection, schema: StreamSchema) -> TargetTable:
    """Return the stream's table, which has been created."""
    table = read_table(connection, *name_of(postgres_native(schema)), schema.stream)
    if table is None:
        raise DefectError(f"The table of stream {schema.stream} is missing after it was created")
    return table


def _follow(
    connection: Connection, table: TargetTable, before: StreamSchema, schema: StreamSchema, ledger: FlowLedger
) -> Mapping[str, str]:
    """Change the table, which the Flow has created, as the source's has changed; return the new names of renamed columns."""
    former, native = postgres_native(before), postgres_native(schema)
    if name_of(former) != name_of(native):
        return {}
    _end_inheritance(connection, former, native)
    objects, keys = ledger.created_objects(), partial(_foreign_keys, ledger)
    untype(connection, table.sql, objects)
    table = existing_table(connection, schema)
    is_same = bool(schema.identities) and before.identities[:1] == schema.identities[:1]
    columns = ColumnEvolution(
        connection,
        table,
        former,
        native,
        schema.stream,
        is_same=is_same,
        is_widened="sqlite" in schema.native,
        objects=objects,
        keys=keys,
    )
    tables = [qualified(*name_of(it)) for it in (native, *native.get("partitions", ()))]
    earlier = definitions_by_table(connection, tables) if columns.renamed else {}
    columns.rename_and_drop()
    drop_former_constraints(connection, former, native, keys, partial(_natives_of_ours, ledger), earlier)
    if "postgresql" not in schema.native:
        constraints_out.drop_former_constraints(connection, before, schema, partial(_tables, ledger))
    follow_sequences(connection, former, native)
    columns.alter()
    follow_partition_columns(connection, former, native)
    PartitionEvolution(connection, table, schema.stream, objects, _flow_tables(connection, ledger)).follow(
        former, native
    )
    return columns.renamed


def _end_inheritance(connection: Connection, former: Native, native: Native) -> None:
    for parent in former.get("inherits", ()):
        if parent not in native.get("inherits", ()):
            with suppress(psycopg.errors.UndefinedTable), connection.transaction():  # it is no child any more
                run_single(connection, f"ALTER TABLE {qualified(*name_of(native))} NO INHERIT {qualified(*parent)}")


def created_tables(ledger: FlowLedger) -> Set[str]:
    """Return the names as SQL of the tables and partitions that the Flow has created."""
    created = ledger.created()
    natives = [postgres_native(schema) for schema in ledger.schemas() if schema.stream in created]
    return {qualified(*name_of(it)) for native in natives for it in (native, *native.get("partitions", ()))}


def tables_of_ours(ledger: FlowLedger) -> Set[str]:
    """Return as SQL the tables, and their partitions, that had no rows before the Flow's first load."""
    natives = _natives_of_ours(ledger)
    return {qualified(*name_of(it)) for native in natives for it in (native, *native.get("partitions", ()))}


def _natives_of_ours(ledger: FlowLedger) -> Sequence[Native]:
    ours = ledger.ours()
    return [postgres_native(schema) for schema in ledger.schemas() if schema.stream in ours]


def _flow_tables(connection: Connection, ledger: FlowLedger) -> FlowTables:
    return FlowTables(partial(_tables, ledger), partial(_parts, connection, ledger), partial(_foreign_keys, ledger))


def _parts(connection: Connection, ledger: FlowLedger) -> Set[str]:
    former = [oid for oids in ledger.former_partitions().values() for oid in oids]
    rows = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ANY(%s)",
        (former,),
    )
    return tables_of_ours(ledger) | {qualified(*name) for name in rows}


def _tables(ledger: FlowLedger) -> Set[tuple[str, str]]:
    return set(map(name_of, _natives_of_ours(ledger)))


def _foreign_keys(ledger: FlowLedger) -> Set[ForeignKeyName]:
    return foreign_keys_of(map(postgres_native, ledger.schemas()))


def foreign_keys_of(natives: Iterable[Native]) -> Set[ForeignKeyName]:
    """Return the names of the foreign keys of tables and their partitions."""
    every = (it for native in natives for it in (native, *native.get("partitions", ())))
    return {(*name_of(it), key["name"]) for it in every for key in it.get("foreign_keys", ())}


def _ensure_key(connection: Connection, table: TargetTable, native: Native, ledger: FlowLedger) -> None:
    """Create the key by which rows are found, unless the table has one of its columns."""
    key = native.get("key")
    if key is not None and frozenset(key["columns"]) not in table.unique_keys:
        with suppress(psycopg.IntegrityError, psycopg.errors.InvalidTableDefinition), connection.transaction():
            _add_key(connection, native, ledger)  # what prevents it shows when the first row is loaded


def _add_key(connection: Connection, native: Native, ledger: FlowLedger) -> None:
    """Add the key; under another name while that of the source is in use. The end of the load gives it its name."""
    name = native["schema"], native["key"]["name"]
    try:
        with connection.transaction():
            _run_all(connection, key_statements(native))
    except psycopg.errors.DuplicateTable:
        is_free = take_name(connection, name, partial(tables_of_ours, ledger))
        _run_all(connection, key_statements(native) if is_free else [unnamed_key_statement(native)])


def _check_description(native: Native, schema: StreamSchema) -> None:
    try:
        names = {column["name"] for column in native["columns"]}
        is_complete = all(isinstance(name, str) for name in name_of(native))
    except (KeyError, TypeError):
        names, is_complete = set(), False
    row_key = native.get("row_key") or {}
    hidden = {row_key.get("row"), row_key.get("dup")}
    if not is_complete or not set(schema.column_names) - hidden <= names:
        raise ConfigurationError(
            f"Stream {schema.stream} cannot be loaded: its description of the table is incomplete; export it again"
        )


def _create(connection: Connection, native: Native, ledger: FlowLedger) -> None:
    """Create the table; without defaults if one cannot be created: the end of the load tries each again.

    Names that tables of the Flow have for their parts are taken from them: the source has renamed such a table.
    """
    ours = partial(tables_of_ours, ledger)
    native = {**native, "sequences": [_free_or_shared(connection, it, ours) for it in native.get("sequences", ())]}
    try:
        with connection.transaction():
            _run_all(connection, table_statements({**native, "partitions": []}, connection.info.server_version))
            add_partitions(connection, native, _flow_tables(connection, ledger))
    except psycopg.errors.DuplicateTable:
        if sum(take_name(connection, name, ours) for name in names_at_creation(native)):
            return _create(connection, native, ledger)
        if native.get("key") is None:
            raise
        _create(connection, {**native, "key": None}, ledger)
        _add_key(connection, native, ledger)
    except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName):
        if all(column.get("default") is None for column in native["columns"]):
            raise
        plain = {**native, "columns": [{**column, "default": None} for column in native["columns"]]}
        _create(connection, plain, ledger)
    return None


def _free_or_shared(connection: Connection, sequence: Native, ours: Callable[[], Set[str]]) -> Native:
    """Take the name of the sequence of a default, unless it is a sequence to share, which stays with the app's table."""
    name = sequence["schema"], sequence["name"]
    if sequence["identity"] or take_name(connection, name, ours, shares_sequence=True):
        return sequence
    return {**sequence, "owned": False} if belongs_elsewhere(connection, name, ours) else sequence


def _run_all(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        run_single(connection, statement)


def _add_column(connection: Connection, table: TargetTable, column: Native, native: Native) -> None:
    """Add a new column. Existing rows get NULL, not its default: their values come as upserts."""
    plain = {**column, "default": None, "not_null": False}
    definition = column_definition(plain, native, connection.info.server_version)
    statements = [
        *sequence_statements(native, connection.info.server_version),
        f"ALTER TABLE {table.sql} ADD COLUMN {definition}",
    ]
    if column.get("default") is not None:
        name = quoted(column["name"])
        statements.append(f"ALTER TABLE {table.sql} ALTER COLUMN {name} SET DEFAULT {column['default']}")
    try:
        with connection.transaction():
            _run_all(connection, statements)
    except psycopg.errors.InsufficientPrivilege:
        return


def _fill_key(connection: Connection, table: TargetTable, column: Native, former: str) -> None:
    """Give a new column of the key the values of the former one of its name: its rows are found by them.

    It is not an UPDATE, so that no trigger fires.
    """
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column['name'])}"
    with suppress(psycopg.DataError), connection.transaction():  # then the source's records have other keys
        run_single(connection, f"{alter} TYPE {column['type']} USING {quoted(former)}::text::{column['type']}")


def _index_key(connection: Connection, table: TargetTable, key: Sequence[str]) -> None:
    """Create a unique index on a key of which the table had no column: SQLite's number of a row, for example."""
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedColumn), connection.transaction():
        run_single(connection, f"CREATE UNIQUE INDEX ON {table.sql} ({quoted_list(key)})")
