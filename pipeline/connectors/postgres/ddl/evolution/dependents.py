"""Views, triggers and policies that depend on a table: dropped while the table changes, and created again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from pipeline.connectors.postgres.ddl.create_table import run_single
from pipeline.connectors.postgres.schema.objects.catalog import ROLE_KINDS, read_objects
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.domain.errors import ConfigurationError

DEPENDS = (psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)
"""Errors that say that an object depends on what is to be changed."""

_ATTACHED = frozenset({"comment", "domain constraint", "rule", "table option", "trigger", *ROLE_KINDS})
"""Kinds that PostgreSQL drops together with the view, trigger or policy that they belong to."""
_GONE = (
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
)
"""Errors that say that what an object belongs to is not there any more, or not yet as at the source."""

RELATIONS = frozenset({"domain", "materialized view", "sequence", "type", "view"})
"""Kinds of which no object may have the name of a table."""
_IN_THE_WAY = """
SELECT oid, oid::regclass::text FROM pg_class WHERE oid = to_regclass(%(name)s) AND relkind NOT IN ('r', 'p')
UNION ALL SELECT 0, oid::regtype::text FROM pg_type WHERE oid = to_regtype(%(name)s) AND typtype IN ('d', 'e', 'r')
"""
"""What has the name of a table; the object id only of what a view may depend on."""
_DEPENDENTS = """
WITH RECURSIVE dependents AS (
    SELECT r.ev_class AS oid, 1 AS depth FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(oids)s)
      AND r.ev_class <> d.refobjid
    UNION
    SELECT r.ev_class, v.depth + 1 FROM dependents AS v JOIN pg_depend AS d ON d.refobjid = v.oid
    JOIN pg_rewrite AS r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND r.ev_class <> v.oid
)
SELECT q.kind, q.name FROM (
    SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END AS kind,
           format('%%I.%%I', n.nspname, c.relname) AS name, max(v.depth) AS depth
    FROM dependents AS v JOIN pg_class AS c ON c.oid = v.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') GROUP BY 1, 2
    UNION ALL
    SELECT 'trigger', format('%%I ON %%I.%%I', t.tgname, n.nspname, c.relname), 0
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgrelid = ANY (%(oids)s) AND NOT t.tgisinternal
    UNION ALL
    SELECT 'policy', format('%%I ON %%I.%%I', p.polname, n.nspname, c.relname), 0
    FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE p.polrelid = ANY (%(oids)s)
) AS q ORDER BY q.depth DESC, q.name
"""


def dependents_of(connection: Connection, tables: Sequence[int]) -> list[ObjectId]:
    """Return the views that depend on these tables, and their triggers and policies."""
    return [(kind, name) for kind, name in connection.execute(_DEPENDENTS, {"oids": list(tables)})]


@contextmanager
def without_dependents(connection: Connection, tables: Sequence[int], ours: Collection[ObjectId]) -> Iterator[None]:
    """Drop what depends on the tables, and create it again at the end, in the connection's transaction.

    What cannot be created again, because it must change too, is left to the end of the Movement if it is among `ours`;
    else the error is PostgreSQL's.
    """
    names = dependents_of(connection, tables)
    objects = {one.id: one for one in read_objects(connection, grants=True)} if names else {}
    dropped = [objects[name] for name in names if name in objects]
    for one in dropped:
        run_single(connection, str(one.remove))
    yield
    for one in reversed(dropped):
        try:
            with connection.transaction():
                for statement in one.create:
                    run_single(connection, statement)
        except psycopg.ProgrammingError:
            if one.id not in ours:
                raise
    if dropped:
        restore_attached(connection, objects.values())


def restore_attached(connection: Connection, objects: Iterable[SchemaObject]) -> None:
    """Create those owners, privileges, comments, options, triggers and rules among `objects` that went with what they belong to."""
    present = {one.id: one for one in read_objects(connection, grants=True)}
    for one in objects:
        if one.kind in _ATTACHED and not (one.id in present and present[one.id].is_same(one)):
            with suppress(*_GONE), connection.transaction():
                for statement in one.create:
                    run_single(connection, statement)


def make_room(connection: Connection, table: tuple[str, str], created: Callable[[], Collection[ObjectId]]) -> None:
    """Drop the view, sequence or type with the name of a table, which the source has now, if the Flow has `created` it.

    Views on it are dropped, too; the end of the Movement creates them again. ConfigurationError when anything else depends
    on it.
    """
    found = connection.execute(_IN_THE_WAY, {"name": qualified(*table)}).fetchall()
    if not found:
        return
    names, ours = {qualified(*table), *(name for _, name in found)}, created()
    objects = {one.id: one for one in read_objects(connection, grants=False) if one.id in ours}
    for one in [one for one in objects.values() if one.kind in RELATIONS and one.name in names]:
        try:
            for dependent in dependents_of(connection, [oid for oid, _ in found]):
                if dependent in objects:
                    run_single(connection, str(objects[dependent].remove))
            run_single(connection, str(one.remove))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise ConfigurationError(
                f"The source has a table {one.name} now, but at the destination something depends on the {one.kind} of this "
                f"name (PostgreSQL: {server_message(error)}). Drop that, and move again"
            ) from error
