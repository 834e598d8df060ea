"""Queries of PostgreSQL's catalog, one for each kind of object.

Each takes the parameter `oids`, the object ids of tables or types, except `TABLES` and `TYPES`, which take none. The
column "table" of a result is the object id that a row belongs to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.connectors.postgres.session.connection import Connection

Row = Mapping[str, Any]
"""A row of a result, by the names of its columns."""
ByTable = defaultdict[int, list[Row]]
"""Rows by the object id that they belong to; without rows, an empty list."""

OWN_SCHEMA = "_pipeline"


def fetch(connection: Connection, query: str, oids: Iterable[int] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a query of the catalog."""
    found = connection.execute(query.encode(), None if oids is None else {"oids": list(oids)})
    names = [column.name for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found]


def fetch_by_table(connection: Connection, query: str, oids: Iterable[int]) -> ByTable:
    """Return the rows of a query by the object id that they belong to, each group in the order of the query."""
    groups: ByTable = defaultdict(list)
    for row in fetch(connection, query, oids):
        groups[row["table"]].append(row)
    return groups


TABLES = f"""
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned, c.relpersistence = 'u' AS unlogged,
       CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS partition_by,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT (n.nspname = '{OWN_SCHEMA}' AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'flow'))
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
"""All tables of the import ledger have a column `flow`: an app's own tables in a schema of that name do not."""

DATABASE = """
SELECT format('%s/%s', c.system_identifier, d.oid) FROM pg_control_system() AS c, pg_database AS d
WHERE d.datname = current_database()
"""

COLUMNS = """
SELECT a.attrelid AS "table", a.attnum AS number, a.attname AS name, a.atttypid AS type_oid,
       format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN b.oid IS NULL THEN format_type(a.atttypid, a.atttypmod) ELSE format_type(b.oid, t.typtypmod) END AS plain_type,
       coalesce(b.typname, t.typname) AS base, a.atttypmod AS modifier,
       a.attidentity AS identity, a.attgenerated AS generated, a.attinhcount > 0 AS inherited,
       a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
                                    AND NOT k.convalidated AND k.conkey = ARRAY[a.attnum]) AS not_null,
       (SELECT k.conname FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
        AND k.conkey = ARRAY[a.attnum]) AS not_null_name,
       EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.connoinherit
               AND k.conkey = ARRAY[a.attnum]) AS not_null_here,
       pg_get_expr(d.adbin, d.adrelid) AS expression, a.attcollation::int8 AS collation_oid,
       coalesce(l.collisdeterministic, true) AS deterministic,
       CASE WHEN a.attcollation <> t.typcollation
            THEN l.collnamespace::regnamespace::text || '.' || quote_ident(l.collname) END AS collation
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS b ON b.oid = nullif(t.typbasetype, 0) LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY (%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

INDEXES = """
SELECT i.indrelid AS "table", c.relname AS name, i.indisprimary AS "primary", i.indisunique AS "unique",
       i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AS identifies,
       i.indisexclusion AS excludes,
       ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)::text[] AS columns,
       replace(pg_get_indexdef(i.indexrelid), format('INDEX %%I ON ONLY ', c.relname),
               format('INDEX %%I ON ', c.relname)) AS definition,
       (SELECT p.relname FROM pg_inherits AS h JOIN pg_class AS p ON p.oid = h.inhparent
        WHERE h.inhrelid = i.indexrelid) AS parent,
       EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS constrains
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%(oids)s) AND i.indislive
ORDER BY i.indrelid, c.relname COLLATE "C"
"""

CONSTRAINTS = """
SELECT k.conrelid AS "table", k.conname AS name, k.contype AS kind, pg_get_constraintdef(k.oid) AS definition,
       n.nspname AS referenced_schema, c.relname AS referenced_table
FROM pg_constraint AS k
LEFT JOIN pg_class AS c ON c.oid = k.confrelid LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.conrelid = ANY (%(oids)s) AND (k.contype IN ('p', 'u', 'c', 'x', 'f') OR k.contype = 'n' AND NOT k.convalidated)
  AND k.conparentid = 0 AND k.conislocal
ORDER BY k.conrelid, k.contype, k.conname COLLATE "C"
"""

INDEX_TERMS = """
SELECT i.indrelid AS "table", i.indexrelid AS oid, c.relname AS name, m.amname AS method, i.indisunique AS "unique",
       i.indisprimary AS "primary",
       i.indpred IS NOT NULL AS partial, c.relispartition AS inherited,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_are_equal,
       (SELECT k.contype::text FROM pg_constraint AS k
        WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS "constraint", terms.*
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY u.place) AS columns,
           array_agg((u.option & 1) = 1 ORDER BY u.place) AS descending,
           bool_or(a.attgenerated <> '') AS generated, bool_or(NOT o.opcdefault) AS other_class,
           string_agg(l.collname, ', ' ORDER BY u.place) FILTER (WHERE NOT l.collisdeterministic
               OR u."collation" <> a.attcollation AND l.collname NOT IN ('C', 'POSIX', 'ucs_basic')) AS other_collation
    FROM unnest(i.indkey::int2[], i.indoption::int2[], i.indclass::oid[], i.indcollation::oid[])
         WITH ORDINALITY AS u(number, option, class, "collation", place)
    LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.number
    LEFT JOIN pg_opclass AS o ON o.oid = u.class LEFT JOIN pg_collation AS l ON l.oid = u."collation"
    WHERE u.place <= i.indnkeyatts
) AS terms
WHERE i.indrelid = ANY (%(oids)s) AND i.indisvalid AND i.indislive
ORDER BY i.indrelid, c.relname COLLATE "C"
"""

FOREIGN_KEYS = """
SELECT k.conrelid AS "table", k.conname AS name, n.nspname AS schema, c.relname AS child, c.relkind = 'p' AS partitioned,
       pn.nspname AS parent_schema, p.relname AS parent, p.relkind = 'p' AS parent_partitioned,
       p.relispartition AS parent_is_partition, k.conindid AS parent_index, k.condeferred AS deferred,
       k.condeferrable AS deferrable,
       k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete,
       coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false) AS period,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
       coalesce(to_jsonb(k) ->> 'confdelsetcols', '') <> '' AS sets_some,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place) AS parent_columns,
       ARRAY(SELECT format('OPERATOR(%%I.%%s)', m.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY AS u(oid, place)
             JOIN pg_operator AS o ON o.oid = u.oid JOIN pg_namespace AS m ON m.oid = o.oprnamespace ORDER BY u.place) AS operators
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY (%(oids)s) OR k.confrelid = ANY (%(oids)s))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", k.conname COLLATE "C"
"""
"""Foreign keys from and to the tables."""

TRIGGERS = """
SELECT tgrelid AS "table", tgname AS name FROM pg_trigger WHERE tgrelid = ANY (%(oids)s) AND NOT tgisinternal
ORDER BY tgrelid, tgname COLLATE "C"
"""

PARTITIONS = """
SELECT root.oid AS "table", t.relid::oid AS oid, n.nspname AS schema, c.relname AS name, pn.nspname AS parent_schema,
       p.relname AS parent_name, pg_get_expr(c.relpartbound, c.oid) AS bound,
       CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS partition_by
FROM unnest(%(oids)s::oid[]) AS root(oid), pg_partition_tree(root.oid) AS t
JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS p ON p.oid = t.parentrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
WHERE t.level > 0
ORDER BY root.oid, t.level, n.nspname COLLATE "C", c.relname COLLATE "C"
"""

PARTITION_COLUMNS = """
SELECT a.attrelid AS "table", a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS "default", a.attnotnull AS not_null,
       n.conname AS not_null_name
FROM pg_inherits AS i JOIN pg_attribute AS a ON a.attrelid = i.inhrelid
JOIN pg_attribute AS p ON p.attrelid = i.inhparent AND p.attname = a.attname
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_attrdef AS e ON e.adrelid = p.attrelid AND e.adnum = p.attnum
LEFT JOIN pg_constraint AS n ON n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum]
LEFT JOIN pg_constraint AS o ON o.conrelid = p.attrelid AND o.contype = 'n' AND o.conkey = ARRAY[p.attnum]
JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition
WHERE i.inhrelid = ANY (%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
  AND (pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM pg_get_expr(e.adbin, e.adrelid) OR a.attnotnull <> p.attnotnull
       OR n.conname <> o.conname)
ORDER BY a.attrelid, a.attnum
"""
"""Columns of partitions that differ from those of their parents."""

PARTITION_LAYOUTS = """
WITH parts AS (
    SELECT i.inhrelid AS child, i.inhparent AS parent FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhrelid = ANY (%(oids)s) AND c.relispartition
), layouts AS (
    SELECT a.attrelid AS oid, array_agg(ARRAY[a.attname, a.attgenerated::text, CASE WHEN a.attgenerated <> ''
           THEN pg_get_expr(d.adbin, d.adrelid) END] ORDER BY a.attnum) AS columns
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT child FROM parts UNION SELECT parent FROM parts)
    GROUP BY a.attrelid
)
SELECT p.child AS "table" FROM parts AS p JOIN layouts AS l ON l.oid = p.child JOIN layouts AS m ON m.oid = p.parent
WHERE l.columns <> m.columns
"""
"""Partitions that have their columns in another order than their parents, or compute one in another way."""

PARENTS = """
SELECT i.inhrelid AS "table", n.nspname AS schema, c.relname AS name
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.inhrelid = ANY (%(oids)s) AND c.relkind <> 'p'
ORDER BY i.inhrelid, i.inhseqno
"""

SEQUENCES = """
WITH used AS (
    SELECT d.refobjid AS "table", d.refobjsubid AS number, d.objid AS sequence, true AS owned, d.deptype = 'i' AS identity
    FROM pg_depend AS d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjid = ANY (%(oids)s) AND d.refobjsubid > 0
    UNION
    SELECT f.adrelid, f.adnum, d.refobjid, false, false
    FROM pg_attrdef AS f JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    WHERE d.refclassid = 'pg_class'::regclass AND f.adrelid = ANY (%(oids)s)
)
SELECT u."table", c.oid, n.nspname AS schema, c.relname AS name, min(a.attname::text) AS "column", bool_or(u.owned) AS owned,
       bool_or(u.identity) AS identity, format_type(s.seqtypid, NULL) AS type, s.seqstart AS start, s.seqincrement AS increment,
       s.seqmin AS minimum, s.seqmax AS maximum, s.seqcache AS cache, s.seqcycle AS cycle,
       CASE WHEN has_sequence_privilege(c.oid, 'SELECT,USAGE') THEN pg_sequence_last_value(c.oid) END AS last_value
FROM used AS u JOIN pg_class AS c ON c.oid = u.sequence JOIN pg_sequence AS s ON s.seqrelid = c.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = u."table" AND a.attnum = u.number
GROUP BY u."table", c.oid, n.nspname, c.relname, s.seqrelid, s.seqtypid, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
         s.seqcache, s.seqcycle
ORDER BY u."table", n.nspname COLLATE "C", c.relname COLLATE "C"
"""

TYPES = """
WITH ranges AS MATERIALIZED (
    SELECT rngtypid, rngsubtype, (to_jsonb(r) ->> 'rngmultitypid')::oid AS multirange FROM pg_range AS r
)
SELECT t.oid, n.nspname AS schema, t.typname AS name, t.typbasetype AS base, t.typelem AS element, t.typrelid AS relation,
       CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN 'a' ELSE t.typtype::text END AS kind,
       c.relkind = 'c' AS is_composite, x.extname AS extension, r.rngsubtype AS subtype
FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_class AS c ON c.oid = t.typrelid
LEFT JOIN ranges AS r ON t.oid IN (r.rngtypid, r.multirange)
LEFT JOIN pg_depend AS d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_extension AS x ON x.oid = d.refobjid
"""

ENUM_LABELS = """
SELECT enumtypid AS "table", enumlabel AS label FROM pg_enum WHERE enumtypid = ANY (%(oids)s) ORDER BY enumtypid, enumsortorder
"""
DOMAINS = """
SELECT t.oid AS "table", format_type(t.typbasetype, t.typtypmod) AS base, t.typnotnull AS not_null,
       coalesce(pg_get_expr(t.typdefaultbin, 0), quote_literal(t.typdefault)) AS "default",
       CASE WHEN t.typcollation <> b.typcollation
            THEN (SELECT l.collnamespace::regnamespace::text || '.' || quote_ident(l.collname)
                  FROM pg_collation AS l WHERE l.oid = t.typcollation) END AS collation,
       (SELECT k.conname FROM pg_constraint AS k WHERE k.contypid = t.oid AND k.contype = 'n'
        AND k.conname <> t.typname || '_not_null') AS not_null_name,
       ARRAY(SELECT k.conname::text FROM pg_constraint AS k
             WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated ORDER BY k.conname) AS names,
       ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
             WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated ORDER BY k.conname) AS checks
FROM pg_type AS t JOIN pg_type AS b ON b.oid = t.typbasetype WHERE t.oid = ANY (%(oids)s)
"""
"""Checks that old values may contradict (NOT VALID) are schema objects of their own, which come after the rows."""

RANGES = """
SELECT r.rngtypid AS "table", format_type(r.rngsubtype, NULL) AS subtype,
       (SELECT o.opcnamespace::regnamespace::text || '.' || quote_ident(o.opcname) FROM pg_opclass AS o
        WHERE o.oid = r.rngsubopc AND NOT o.opcdefault) AS operator_class,
       CASE WHEN r.rngcollation <> s.typcollation
            THEN (SELECT l.collnamespace::regnamespace::text || '.' || quote_ident(l.collname)
                  FROM pg_collation AS l WHERE l.oid = r.rngcollation) END AS collation,
       CASE WHEN r.rngsubdiff <> 0 THEN r.rngsubdiff::regproc::text END AS difference,
       (to_jsonb(r) ->> 'rngmultitypid')::oid AS multirange_oid,
       format_type((to_jsonb(r) ->> 'rngmultitypid')::oid, NULL) AS multirange
FROM pg_range AS r JOIN pg_type AS s ON s.oid = r.rngsubtype WHERE r.rngtypid = ANY (%(oids)s)
"""

COLLATION_OPTIONS = """concat_ws(', ',
        'PROVIDER = ' || CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
        CASE WHEN c.collprovider IN ('i', 'b')
             THEN format('LOCALE = %%L', coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', c.collcollate))
             WHEN c.collcollate = c.collctype THEN format('LOCALE = %%L', c.collcollate)
             ELSE format('LC_COLLATE = %%L, LC_CTYPE = %%L', c.collcollate, c.collctype) END,
        CASE WHEN NOT c.collisdeterministic THEN 'DETERMINISTIC = false' END,
        'RULES = ' || quote_literal(to_jsonb(c) ->> 'collicurules'))"""
"""The options with which CREATE COLLATION makes the collation `c`."""

NEEDED_OBJECTS = f"""
WITH RECURSIVE start AS (
    SELECT c.oid AS "table", 'pg_class'::regclass::oid AS class, c.oid, a.attnum::int AS part
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid WHERE c.oid = ANY (%(oids)s)
    UNION SELECT f.adrelid, 'pg_attrdef'::regclass, f.oid, 0 FROM pg_attrdef AS f WHERE f.adrelid = ANY (%(oids)s)
    UNION SELECT k.conrelid, 'pg_constraint'::regclass, k.oid, 0 FROM pg_constraint AS k
          WHERE k.conrelid = ANY (%(oids)s) AND k.contype IN ('c', 'p', 'u')
), needed AS (
    SELECT "table", class, oid, part FROM start
    UNION
    SELECT n."table", d.class, d.oid, 0 FROM needed AS n CROSS JOIN LATERAL (
        SELECT d.refclassid AS class, d.refobjid AS oid FROM pg_depend AS d
        WHERE d.classid = n.class AND d.objid = n.oid AND (n.part = 0 OR d.objsubid = n.part) AND d.deptype IN ('n', 'i', 'e')
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_collation'::regclass, 'pg_operator'::regclass,
                               'pg_extension'::regclass, 'pg_constraint'::regclass)
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k  -- a domain depends on its checks the other way
        WHERE n.class = 'pg_type'::regclass AND k.contypid = n.oid
    ) AS d
)
SELECT DISTINCT n."table", x.kind, x.name, x."create", x.schema
FROM needed AS n CROSS JOIN LATERAL (
    SELECT 1 AS rank, 'extension' AS kind, e.extname::text AS name, NULL AS "create", s.nspname::text AS schema
    FROM pg_extension AS e JOIN pg_namespace AS s ON s.oid = e.extnamespace
    WHERE n.class = 'pg_extension'::regclass AND e.oid = n.oid AND e.extname <> 'plpgsql'
    UNION ALL
    SELECT 2, 'collation', c.oid::regcollation::text, format('CREATE COLLATION %%I.%%I (%%s)', s.nspname, c.collname,
           {COLLATION_OPTIONS}), s.nspname
    FROM pg_collation AS c JOIN pg_namespace AS s ON s.oid = c.collnamespace
    WHERE n.class = 'pg_collation'::regclass AND c.oid = n.oid AND c.oid >= 16384
    UNION ALL
    SELECT 3, 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid), s.nspname
    FROM pg_proc AS p JOIN pg_namespace AS s ON s.oid = p.pronamespace
    WHERE n.class = 'pg_proc'::regclass AND p.oid = n.oid AND p.oid >= 16384 AND p.prokind IN ('f', 'w')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype IN ('e', 'i'))
) AS x
ORDER BY n."table", x.kind, x.name
"""
"""What a table's columns, defaults and constraints refer to, directly or through other objects: extensions,
collations and functions."""
