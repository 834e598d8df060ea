"""Tables that remain after the source has renamed them, or made them partitions of others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from pipeline.connectors.postgres.ddl.create_table import name_of, run_single
from pipeline.connectors.postgres.ddl.ensure_table import FlowLedger, created_tables, foreign_keys_of, postgres_native
from pipeline.connectors.postgres.ddl.evolution.constraints import ForeignKeyName
from pipeline.connectors.postgres.ddl.evolution.dependents import dependents_of, without_dependents
from pipeline.connectors.postgres.ddl.evolution.names import given_up
from pipeline.connectors.postgres.ddl.evolution.partitions import drop_foreign_keys, parent_of
from pipeline.connectors.postgres.ddl.target_table import table_oid
from pipeline.connectors.postgres.schema.catalog_queries import OWN_SCHEMA
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

_STAND_INS = r"SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'former\_%%'"
_TABLES_OF_NAMES = """
SELECT c.oid FROM unnest(%s::text[]) AS name JOIN pg_class AS c ON c.oid = to_regclass(name) WHERE c.relkind IN ('r', 'p')
"""
_PARTITIONS = """
SELECT c.oid, n.nspname, c.relname FROM pg_partition_tree(%s) AS p JOIN pg_class AS c ON c.oid = p.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE p.level > 0
"""


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A former table of a stream that stays, and the stream that has its rows now.

    `reason` says what of the destination depends on it; None if it has rows, of anybody.
    """

    stream: StreamName
    table: str
    successor: StreamName
    reason: str | None


def former_streams(schemas: Sequence[StreamSchema], created: Set[StreamName]) -> Mapping[StreamName, StreamName]:
    """Return the streams whose tables the Flow has created and whose rows another stream has now, with that stream.

    `schemas` are the latest of each stream, in the order of their export.
    """
    holders: dict[str, StreamName] = {}
    for schema in schemas:
        holders.update(dict.fromkeys(schema.identities, schema.stream))
    now = {schema.stream: holders[schema.identities[0]] for schema in schemas if schema.identities}
    return {stream: holder for stream, holder in now.items() if holder != stream and stream in created}


def drop_former_tables(
    connection: Connection, ledger: FlowLedger, schemas: Sequence[StreamSchema]
) -> tuple[Set[StreamName], Sequence[KeptTable]]:
    """Drop tables that the Flow has created, whose rows another stream has now, once they are empty.

    `schemas` are the latest of each stream, in the order of their export. Return the streams of the tables that are gone,
    and the tables that stay. Nothing is dropped that the Flow has not created.
    """
    for (name,) in connection.execute(_STAND_INS, (OWN_SCHEMA,)).fetchall():
        run_single(connection, f"DROP TABLE {qualified(OWN_SCHEMA, name)}")
    successors = former_streams(schemas, ledger.created())
    if not successors:
        return set(), []
    former = {schema.stream: postgres_native(schema) for schema in schemas if schema.stream in successors}
    drop = _Drop(connection, created_tables(ledger), foreign_keys_of(former.values()), ledger.created_objects())
    gone: set[StreamName] = set()
    while True:  # one may depend on another
        left = {stream: name_of(native) for stream, native in former.items() if stream not in gone}
        kept = []
        for stream, table in left.items():
            try:
                drop.run(table)
                gone.add(stream)
            except _KeptError as error:
                kept.append(KeptTable(stream, ".".join(table), successors[stream], error.reason))
        if len(kept) == len(left):
            return gone, kept


def drop_replaced_tables(
    connection: Connection, ledger: FlowLedger, schemas: Sequence[StreamSchema], names: Sequence[str]
) -> Set[StreamName]:
    """Drop the empty tables that the Flow has created and whose names the source has for something else now.

    `names` are those, as SQL. Return the streams of the tables that are gone.
    """
    found = {row[0] for row in connection.execute(_TABLES_OF_NAMES, (list(names),))}
    created = ledger.created() if found else set()
    former = {schema.stream: postgres_native(schema) for schema in schemas if schema.stream in created}
    drop = _Drop(connection, created_tables(ledger), foreign_keys_of(former.values()), ledger.created_objects())
    gone: set[StreamName] = set()
    for stream, native in former.items():
        if table_oid(connection, *name_of(native)) in found:
            with suppress(_KeptError):  # the object that cannot be created says so
                drop.run(name_of(native))
                gone.add(stream)
    return gone


class _KeptError(Exception):
    """A table stays."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Drop:
    """Drops former tables. `keys` are the foreign keys between them, `objects` the schema objects that the Flow has created.

    `created` are the tables and partitions, as SQL, that it has created.
    """

    connection: Connection
    created: Set[str]
    keys: Set[ForeignKeyName]
    objects: Collection[ObjectId]

    def run(self, name: tuple[str, str]) -> None:
        """Drop a table, unless it is gone or a partition now. _KeptError when it must stay."""
        oid = table_oid(self.connection, *name)
        if oid is None or parent_of(self.connection, name) is not None:
            return
        others = [*self._other_partitions(oid), *self._other_dependents(oid)]
        try:
            with self.connection.transaction():
                _lock_empty(self.connection, qualified(*name))
                if others:
                    raise _KeptError(", ".join(others))
                drop_foreign_keys(self.connection, oid, qualified(*name), self.keys)
                with without_dependents(self.connection, [oid], self.objects):
                    run_single(self.connection, f"DROP TABLE {qualified(*name)}")
        except psycopg.errors.DependentObjectsStillExist as error:
            raise _KeptError(", ".join((error.diag.message_detail or server_message(error)).splitlines())) from error

    def _other_partitions(self, oid: int) -> Iterator[str]:
        for number, *name in self.connection.execute(_PARTITIONS, (oid,)).fetchall():
            if name[1] != given_up(number) and qualified(*name) not in self.created:
                yield f"partition {'.'.join(name)}"

    def _other_dependents(self, oid: int) -> Iterator[str]:
        found = dependents_of(self.connection, [oid])
        yield from (f"{kind} {name}" for kind, name in found if (kind, name) not in self.objects)


def _lock_empty(connection: Connection, table: str) -> None:
    """Keep other sessions from a table until the end of the transaction. _KeptError if it has rows."""
    if not _has_rows(connection, table):
        run_single(connection, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    if _has_rows(connection, table):  # of another session, which has written since
        raise _KeptError(None)


def _has_rows(connection: Connection, table: str) -> bool:
    return connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone() == (True,)


def former_partitions(connection: Connection, before: StreamSchema, now: StreamSchema) -> list[int]:
    """Return the object ids of the partitions of a table that the schema `before` has and `now` has not."""
    former, wanted = ({name_of(it) for it in postgres_native(one).get("partitions", ())} for one in (before, now))
    oid = table_oid(connection, *name_of(postgres_native(now)))
    rows = connection.execute(_PARTITIONS, (oid,)).fetchall() if former else []
    return [number for number, *name in rows if tuple(name) in former - wanted or name[1] == given_up(number)]


def drop_former_partitions(connection: Connection, oids: Sequence[int]) -> list[int]:
    """Drop those of these partitions that are empty; return the others."""
    rows = connection.execute(
        "SELECT c.oid, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.oid = ANY(%s) AND c.relispartition",
        (list(oids),),
    ).fetchall()
    return [oid for oid, *name in rows if not _is_dropped(connection, qualified(*name))]


def _is_dropped(connection: Connection, partition: str) -> bool:
    try:
        with connection.transaction():
            _lock_empty(connection, partition)
            run_single(connection, f"DROP TABLE {partition}")
    except (_KeptError, psycopg.errors.DependentObjectsStillExist):
        return False
    return True
