"""What uses a type or a function: dropped while it is replaced or goes, and created again by its own text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum

import psycopg

from pipeline.connectors.postgres.ddl.create_table import run_single
from pipeline.connectors.postgres.ddl.evolution.dependents import restore_attached
from pipeline.connectors.postgres.schema.objects.catalog import read_objects
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject

ROUTINES = frozenset({"aggregate", "function", "procedure"})
_TYPE = """
SELECT 'pg_type'::regclass::oid, t.oid FROM pg_type AS t WHERE t.oid = to_regtype(%(name)s)
UNION ALL SELECT 'pg_type'::regclass, t.typarray FROM pg_type AS t WHERE t.oid = to_regtype(%(name)s)
"""
_TABLE = "SELECT 'pg_class'::regclass::oid, to_regclass(%(name)s)::oid"
_ROUTINE_NAME = """format('%%I.%%I(%%s)', p.pronamespace::regnamespace::name, p.proname,
    coalesce(nullif(pg_get_function_identity_arguments(p.oid), ''), CASE p.prokind WHEN 'a' THEN '*' ELSE '' END))"""
_ROUTINE = f"SELECT 'pg_proc'::regclass::oid, p.oid FROM pg_proc AS p WHERE {_ROUTINE_NAME} = %(name)s"
_USERS = f"""
WITH RECURSIVE users AS (
    SELECT class, oid, 0 AS depth FROM (/*USED*/) AS used(class, oid)
    UNION
    SELECT d.class, d.oid, u.depth + 1 FROM users AS u CROSS JOIN LATERAL (
        SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS class,
               coalesce(r.ev_class, d.objid) AS oid, d.classid AS through
        FROM pg_depend AS d LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_class AS c ON c.oid = coalesce(r.ev_class, d.objid)
             AND d.classid IN ('pg_rewrite'::regclass, 'pg_class'::regclass)
        WHERE d.refclassid = u.class AND d.refobjid = u.oid AND d.deptype IN ('n', 'a')
          AND (d.classid IN ('pg_proc'::regclass, 'pg_cast'::regclass, 'pg_operator'::regclass, 'pg_policy'::regclass,
                             'pg_trigger'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)
               OR d.classid = 'pg_class'::regclass AND c.relkind IN ('i', 'I')
               OR d.classid = 'pg_rewrite'::regclass AND c.relkind IN ('v', 'm'))
    ) AS d
    WHERE u.depth < 30 AND d.oid <> u.oid
      AND (u.depth > 0 OR u.class = 'pg_proc'::regclass OR d.through = 'pg_proc'::regclass
           OR u.class = 'pg_type'::regclass AND d.through IN ('pg_cast'::regclass, 'pg_operator'::regclass, 'pg_rewrite'::regclass))
), deepest AS (
    SELECT class, oid, max(depth) AS depth FROM users GROUP BY 1, 2 HAVING min(depth) > 0
)
SELECT x.* FROM deepest AS u CROSS JOIN LATERAL (
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind,
           {_ROUTINE_NAME} AS name, NULL AS remove, NULL AS "create", NULL AS "table"
    FROM pg_proc AS p WHERE u.class = 'pg_proc'::regclass AND p.oid = u.oid
    UNION ALL
    SELECT 'operator', format('%%I.%%s (%%s, %%s)', o.oprnamespace::regnamespace::name, o.oprname,
                              coalesce(format_type(nullif(o.oprleft, 0), NULL), 'NONE'), format_type(o.oprright, NULL)),
           NULL, NULL, NULL
    FROM pg_operator AS o WHERE u.class = 'pg_operator'::regclass AND o.oid = u.oid
    UNION ALL
    SELECT 'cast', format('(%%s AS %%s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)), NULL, NULL, NULL
    FROM pg_cast AS c WHERE u.class = 'pg_cast'::regclass AND c.oid = u.oid
    UNION ALL
    SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END,
           format('%%I.%%I', c.relnamespace::regnamespace::name, c.relname), NULL, NULL, NULL
    FROM pg_class AS c WHERE u.class = 'pg_class'::regclass AND c.oid = u.oid AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'trigger', format('%%I ON %%I.%%I', t.tgname, c.relnamespace::regnamespace::name, c.relname), NULL, NULL,
           t.tgrelid::regclass::text
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE u.class = 'pg_trigger'::regclass AND t.oid = u.oid AND t.tgparentid = 0
    UNION ALL
    SELECT 'policy', format('%%I ON %%I.%%I', p.polname, c.relnamespace::regnamespace::name, c.relname), NULL, NULL,
           p.polrelid::regclass::text
    FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid WHERE u.class = 'pg_policy'::regclass AND p.oid = u.oid
    UNION ALL
    SELECT 'index', c.relname, format('DROP INDEX %%s', c.oid::regclass),
           replace(pg_get_indexdef(c.oid), format('INDEX %%I ON ONLY ', c.relname), format('INDEX %%I ON ', c.relname)),
           i.indrelid::regclass::text
    FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid
    WHERE u.class = 'pg_class'::regclass AND c.oid = u.oid AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 'constraint', k.conname, format('ALTER TABLE %%s DROP CONSTRAINT %%I', k.conrelid::regclass, k.conname),
           format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid)),
           k.conrelid::regclass::text
    FROM pg_constraint AS k
    WHERE (u.class = 'pg_constraint'::regclass AND k.oid = u.oid
           OR u.class = 'pg_class'::regclass AND k.conindid = u.oid AND k.contype IN ('p', 'u', 'x'))
      AND k.conrelid <> 0 AND k.coninhcount = 0
    UNION ALL
    SELECT 'default', a.attname, format('ALTER TABLE %%s ALTER COLUMN %%I DROP DEFAULT', a.attrelid::regclass, a.attname),
           format('ALTER TABLE %%s ALTER COLUMN %%I SET DEFAULT %%s', a.attrelid::regclass, a.attname,
                  pg_get_expr(f.adbin, f.adrelid)), a.attrelid::regclass::text
    FROM pg_attrdef AS f JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
    WHERE u.class = 'pg_attrdef'::regclass AND f.oid = u.oid AND a.attgenerated = ''
) AS x ORDER BY u.depth DESC, x.name
"""
"""What uses a type, a function, or a table (functions only), directly or through functions and views; the outermost first.

What belongs to a table and has a definition of its own here tells how to remove and create it: other rows are schema objects.
"""


class Used(StrEnum):
    """What is used, and the query of its class and object id by its name."""

    TYPE = _TYPE
    ROUTINE = _ROUTINE
    TABLE = _TABLE


@contextmanager
def without_users(connection: Connection, used: Used, name: str, ours: Collection[ObjectId]) -> Iterator[None]:
    """Drop what uses an object, and create it again at the end by its own text, in the connection's transaction.

    A schema object that cannot be created again, because it must change too, is left to the end of the Movement if it is
    among `ours`; else the error is PostgreSQL's.
    """
    users = connection.execute(_USERS.replace("/*USED*/", used).encode(), {"name": name}).fetchall()
    objects = {one.id: one for one in read_objects(connection, grants=True)} if users else {}
    steps = list(_steps(users, objects))
    for remove, _, _ in steps:
        run_single(connection, remove)
    yield
    for _, create, is_ours in reversed([(remove, create, id_ in ours) for remove, create, id_ in steps]):
        try:
            with connection.transaction():
                for statement in create:
                    run_single(connection, statement)
        except psycopg.ProgrammingError:
            if not is_ours:
                raise
    if steps:
        restore_attached(connection, objects.values())


def _steps(
    users: Sequence[tuple[str, ...]], objects: Mapping[ObjectId, SchemaObject]
) -> Iterator[tuple[str, Sequence[str], ObjectId]]:
    """Give for each user how to remove and to create it, and its name."""
    for kind, name, remove, create, table in users:
        one = objects.get((kind, name))
        if one is not None and one.remove is not None:
            yield one.remove, one.create, one.id
        elif remove is not None:
            yield remove, [create], (kind, f"{name} of {table}")


def is_used_by_rows(connection: Connection, used: Used, name: str) -> bool:
    """Whether anything uses an object but parts of tables that have no rows."""
    users = connection.execute(_USERS.replace("/*USED*/", used).encode(), {"name": name}).fetchall()
    tables = {table for *_, table in users}
    return None in tables or any(
        connection.execute(f"SELECT EXISTS (SELECT FROM {table})".encode()).fetchone() == (True,) for table in tables
    )
