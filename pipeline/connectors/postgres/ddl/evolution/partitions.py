"""Partitions that the source has renamed, attached, detached or bounded in another way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass

import psycopg

from pipeline.connectors.postgres.ddl.create_table import (
    Native,
    name_of,
    new_partition,
    run_single,
    table_statements,
)
from pipeline.connectors.postgres.ddl.evolution.constraints import ForeignKeyName
from pipeline.connectors.postgres.ddl.evolution.dependents import without_dependents
from pipeline.connectors.postgres.ddl.evolution.names import given_up, take_name
from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_keys
from pipeline.connectors.postgres.ddl.target_table import TargetTable, read_table, table_oid
from pipeline.connectors.postgres.schema.catalog_queries import OWN_SCHEMA
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import qualified, quoted, quoted_list
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.errors import ConfigurationError

_PARENT = """
SELECT n.nspname, p.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_namespace AS n ON n.oid = p.relnamespace
WHERE c.relispartition AND i.inhrelid = to_regclass(%s)
"""
_CHECKS = """
SELECT k.conname::text, pg_get_constraintdef(k.oid) FROM pg_constraint AS k
WHERE k.conrelid = to_regclass(%(parent)s) AND k.contype = 'c' AND NOT k.connoinherit AND NOT EXISTS (
    SELECT FROM pg_constraint AS c WHERE c.conrelid = to_regclass(%(child)s) AND c.conname = k.conname)
"""
_IN_THE_WAY = (psycopg.errors.InvalidObjectDefinition, psycopg.errors.CheckViolation)
"""A partition has the bounds of a new one, or the default partition has its rows."""


def parent_of(connection: Connection, table: tuple[str, str]) -> str | None:
    """Return the table, as SQL, of which a table is a partition here; None if it is none."""
    row = connection.execute(_PARENT, (qualified(*table),)).fetchone()
    return None if row is None else qualified(*row)


def detach(connection: Connection, table: TargetTable, keys: Set[ForeignKeyName]) -> None:
    """Detach a partition, and delete its rows: the Event Files of its new stream have all of them.

    Foreign keys of the Flow that refer to them through the partitioned table are dropped; post_load.py creates those again
    that the source still has.
    """
    parent = str(parent_of(connection, (table.schema, table.name)))
    statement = f"ALTER TABLE {parent} DETACH PARTITION {table.sql}"
    try:
        with connection.transaction():
            run_single(connection, statement)
    except psycopg.errors.ForeignKeyViolation:
        (oid,) = connection.execute("SELECT to_regclass(%s)::oid", (parent,)).fetchall()[0]
        drop_foreign_keys(connection, oid, parent, keys)
        run_single(connection, statement)
    _empty(connection, table.oid, table.sql, keys)


def _empty(connection: Connection, oid: int, name: str, keys: Set[ForeignKeyName]) -> None:
    """Delete all rows of a table, and none that refer to them: post_load.py creates the foreign keys again."""
    drop_foreign_keys(connection, oid, name, keys)
    for key in read_foreign_keys(connection, [oid]):
        if key.parent_name == name and key.child_name != name:
            raise ConfigurationError(
                f"The rows of {name} must be sent again, but {key.child_name} refers to them through {key.name}, which the "
                "source does not have. Drop that foreign key, and move again"
            )
    run_single(connection, f"DELETE FROM {name}")


def drop_foreign_keys(connection: Connection, oid: int, name: str, keys: Set[ForeignKeyName]) -> None:
    """Drop those of the foreign keys `keys` that refer to a table, whose name is given as SQL."""
    for key in read_foreign_keys(connection, [oid]):
        if key.parent_name == name and (*key.owner, key.name) in keys:
            run_single(connection, f"ALTER TABLE {qualified(*key.owner)} DROP CONSTRAINT {quoted(key.name)}")


def stand_in(connection: Connection, table: TargetTable, stream: str) -> TargetTable:
    """Return an empty table like a partition: for deletes of rows that the partitioned table has now."""
    name = given_up(table.oid)
    run_single(
        connection,
        f"CREATE TABLE IF NOT EXISTS {qualified(OWN_SCHEMA, name)} (LIKE {table.sql} INCLUDING INDEXES INCLUDING GENERATED)",
    )
    made = read_table(connection, OWN_SCHEMA, name, stream)
    return table if made is None else made


def rename_partitions(connection: Connection, before: Native, now: Native) -> None:
    """Give renamed partitions their new names."""
    former = {it["identity"]: name_of(it) for it in before.get("partitions", ()) if it.get("identity")}
    for partition in now.get("partitions", ()):
        was, name = former.get(partition.get("identity")), name_of(partition)
        if was is not None and was[0] == name[0] and was != name and parent_of(connection, was) is not None:
            run_single(connection, f"ALTER TABLE {qualified(*was)} RENAME TO {quoted(name[1])}")


@dataclass(frozen=True, slots=True)
class FlowTables:
    """What the Flow has here, read when it is needed: its tables that had no rows before its first load, and its keys.

    `parts` are these tables and their partitions, as SQL.
    """

    tables: Callable[[], Collection[tuple[str, str]]]
    parts: Callable[[], Set[str]]
    keys: Callable[[], Set[ForeignKeyName]]


def add_partitions(connection: Connection, native: Native, flow: FlowTables | None = None) -> None:
    """Create new partitions. Without `flow`, what has the name of one already stays as it is.

    A table of the Flow that is a partition now is attached; its rows come with others. A partition of another table gives up
    its name. ConfigurationError when anything else has it.
    """
    tree = {qualified(*name_of(it)) for it in (native, *native.get("partitions", ()))}
    for partition in native.get("partitions", ()):
        table, name = name_of(partition), qualified(*name_of(partition))
        if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
            _add_partition(connection, partition)
        elif flow is None or (parent := parent_of(connection, table)) in tree:
            continue
        elif parent is None and table in flow.tables():
            _empty(connection, table_oid(connection, *table) or 0, name, flow.keys())
            attached = f"ALTER TABLE {qualified(*partition['parent'])} ATTACH PARTITION {name} {partition['bound']}"
            run_single(connection, attached)
        elif take_name(connection, table, flow.parts):
            _add_partition(connection, partition)
        else:
            raise ConfigurationError(
                f"{name} of the destination is no partition of {qualified(*partition['parent'])}, which it is at the source. "
                "Rename it, and move again"
            )


def _add_partition(connection: Connection, partition: Native) -> None:
    create, *attach = new_partition(partition, connection.info.server_version)
    run_single(connection, create)
    for statement in attach:
        child = qualified(*name_of(partition))
        for name, definition in checks_to_inherit(connection, child, qualified(*partition["parent"])):
            run_single(connection, f"ALTER TABLE {child} ADD CONSTRAINT {quoted(name)} {definition}")
        run_single(connection, statement)


def checks_to_inherit(connection: Connection, child: str, parent: str) -> Sequence[tuple[str, str]]:
    """Return the names and definitions of the checks that a table lacks to inherit from a parent. Both names are SQL."""
    return connection.execute(_CHECKS, {"child": child, "parent": parent}).fetchall()


class PartitionEvolution:
    """Brings the partitions of a table into the form of the description `now`, in the connection's transaction."""

    def __init__(
        self,
        connection: Connection,
        table: TargetTable,
        stream: str,
        objects: Collection[ObjectId],
        flow: FlowTables,
    ) -> None:
        self._connection, self._table, self._stream = connection, table, stream
        self._objects, self._flow = objects, flow

    def follow(self, before: Native, now: Native) -> None:
        """Rename and add partitions. Where others are in the way, make the table again and fill it with its rows."""
        try:
            if self._is_other(before, now):
                return self._make_again(now)
            rename_partitions(self._connection, before, now)
            try:
                with self._connection.transaction():
                    add_partitions(self._connection, now, self._flow)
            except _IN_THE_WAY:
                self._make_again(now)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise ConfigurationError(
                f"Stream {self._stream} has other partitions at the source, but the destination's table {self._table.sql} "
                f"cannot follow (PostgreSQL: {server_message(error)}). Drop what depends on the table, and move again"
            ) from error
        return None

    def _is_other(self, before: Native, now: Native) -> bool:
        """Whether the table or a partition of it is divided in another way."""
        if self._table.partitioned != bool(now.get("partition_by")) or _division(before) != _division(now):
            return True
        was, wanted = (
            {it.get("identity"): _forms(native, it) for it in native.get("partitions", ())} for native in (before, now)
        )
        return any(was.get(identity, form) != form for identity, form in wanted.items())

    def _make_again(self, now: Native) -> None:
        with without_dependents(self._connection, [self._table.oid], self._objects):
            drop_foreign_keys(self._connection, self._table.oid, self._table.sql, self._flow.keys())
            former = self._move_away()
            for statement in table_statements({**now, "partitions": []}, self._connection.info.server_version):
                run_single(self._connection, statement)
            add_partitions(self._connection, now, self._flow)
            made = read_table(self._connection, *name_of(now), self._stream)
            columns = [] if made is None else [it for it in made.columns.values() if not it.generated]
            names = quoted_list(it.name for it in columns if it.name in self._table.columns)
            for statement in self._filled(now, names, former):
                run_single(self._connection, statement)

    def _filled(self, now: Native, columns: str, former: str) -> Iterator[str]:
        """Give the statements that fill the new table. Rows that have no partition any more are not the source's."""
        name, rest = qualified(*name_of(now)), qualified(OWN_SCHEMA, "former_rest")
        has_rest = bool(now.get("partition_by")) and " ".join(now["partition_by"].split()[:1]).upper() != "HASH"
        has_rest = has_rest and not any(
            it["bound"] == "DEFAULT" and tuple(it["parent"]) == name_of(now) for it in now["partitions"]
        )
        if has_rest:
            yield f"CREATE TABLE {rest} PARTITION OF {name} DEFAULT"
        yield f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {former}"
        if has_rest:
            yield f"ALTER TABLE {name} DETACH PARTITION {rest}"
            yield f"DROP TABLE {rest}"
        yield f"DROP TABLE {former}"

    def _move_away(self) -> str:
        """Move the table with its partitions to the pipeline's schema, so that all their names are free."""
        rows = self._connection.execute(
            "SELECT c.oid, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE c.oid = %(table)s OR c.oid IN (SELECT relid FROM pg_partition_tree(%(table)s))",
            {"table": self._table.oid},
        )
        for oid, schema, name in rows.fetchall():
            if name != given_up(oid):
                run_single(self._connection, f"ALTER TABLE {qualified(schema, name)} RENAME TO {given_up(oid)}")
            run_single(self._connection, f"ALTER TABLE {qualified(schema, given_up(oid))} SET SCHEMA {OWN_SCHEMA}")
        return qualified(OWN_SCHEMA, given_up(self._table.oid))


def _division(native: Native) -> tuple[object, ...]:
    return native.get("partition_by"), native.get("bound"), native.get("parent")


def _forms(native: Native, partition: Native) -> tuple[object, ...]:
    """Return how a partition is bounded and divided, and what it computes in another way than the table, and the table."""
    computed = {it["name"]: it["generated"] for it in native["columns"] if it["generated"]}
    own = [
        (it["name"], it["generated"], computed.get(it["name"])) for it in partition.get("layout", ()) if it["generated"]
    ]
    return (*_division(partition), [it for it in own if it[1] != it[2]])


def follow_partition_columns(connection: Connection, before: Native, now: Native) -> None:
    """Take from partitions the defaults and NOT NULL that they no longer have of their own."""
    parents = {column["name"]: column for column in now["columns"]}
    partitions = {name_of(partition): partition for partition in now.get("partitions", ())}
    for partition in before.get("partitions", ()):
        columns = {it["name"]: it for it in partitions.get(name_of(partition), {}).get("columns", ())}
        for was in partition.get("columns", ()):
            wanted = columns.get(was["name"], parents.get(was["name"]))
            if wanted is None or name_of(partition) not in partitions:
                continue
            alter = f"ALTER TABLE {qualified(*name_of(partition))} ALTER COLUMN {quoted(was['name'])}"
            if was["default"] is not None and was["default"] != wanted["default"]:
                run_single(connection, f"{alter} DROP DEFAULT")
            if was["not_null"] and not wanted["not_null"]:
                run_single(connection, f"{alter} DROP NOT NULL")
