"""Tables that remain after the source has renamed them, or made them partitions of others."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from contextlib import AbstractContextManager, nullcontext

import psycopg

from pipeline.connectors.postgres.ddl.create_table import name_of, run_single
from pipeline.connectors.postgres.ddl.ensure_table import postgres_native
from pipeline.connectors.postgres.ddl.evolution.dependents import without_dependents
from pipeline.connectors.postgres.ddl.evolution.partitions import parent_of
from pipeline.connectors.postgres.ddl.target_table import table_oid
from pipeline.connectors.postgres.schema.catalog_queries import OWN_SCHEMA
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

_STAND_INS = r"SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'former\_%%'"


def drop_former_tables(
    connection: Connection, schemas: Sequence[StreamSchema], created: Set[StreamName], objects: Collection[ObjectId]
) -> list[StreamName]:
    """Drop tables that the Flow has created, whose rows another stream has now, once they are empty; return their streams.

    `schemas` are the latest of each stream. What another object of the destination depends on stays.
    """
    for (name,) in connection.execute(_STAND_INS, (OWN_SCHEMA,)).fetchall():
        run_single(connection, f"DROP TABLE {qualified(OWN_SCHEMA, name)}")
    holders: dict[str, StreamName] = {}
    for schema in schemas:  # in the order of their export
        holders.update(dict.fromkeys(schema.identities, schema.stream))
    former = [it for it in schemas if it.identities and holders[it.identities[0]] != it.stream and it.stream in created]
    return [schema.stream for schema in former if _is_dropped(connection, schema, objects)]


def _is_dropped(connection: Connection, schema: StreamSchema, objects: Collection[ObjectId]) -> bool:
    name = name_of(postgres_native(schema))
    oid, table = table_oid(connection, *name), qualified(*name)
    if oid is None or parent_of(connection, name) is not None:
        return True
    return _drop_if_empty(connection, table, without_dependents(connection, [oid], objects))


def _drop_if_empty(connection: Connection, table: str, surrounding: AbstractContextManager[None]) -> bool:
    """Drop a table without rows on which nothing depends, in `surrounding`; return whether it was dropped."""
    if _has_rows(connection, table):
        return False
    try:
        with connection.transaction():
            run_single(connection, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            if _has_rows(connection, table):  # another session has written since
                return False
            with surrounding:
                run_single(connection, f"DROP TABLE {table}")
    except psycopg.errors.DependentObjectsStillExist:
        return False
    return True


def _has_rows(connection: Connection, table: str) -> bool:
    return connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone() == (True,)


def former_partitions(connection: Connection, before: StreamSchema, now: StreamSchema) -> list[int]:
    """Return the object ids of partitions that the schema `before` has and `now` has not."""
    wanted = {name_of(partition) for partition in postgres_native(now).get("partitions", ())}
    gone = [name_of(it) for it in postgres_native(before).get("partitions", ()) if name_of(it) not in wanted]
    return [oid for name in gone if (oid := table_oid(connection, *name)) is not None]


def drop_former_partitions(connection: Connection, oids: Sequence[int]) -> list[int]:
    """Drop those of these partitions that are empty; return the others."""
    rows = connection.execute(
        "SELECT c.oid, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.oid = ANY(%s) AND c.relispartition",
        (list(oids),),
    ).fetchall()
    return [oid for oid, *name in rows if not _drop_if_empty(connection, qualified(*name), nullcontext())]
