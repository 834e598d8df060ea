"""Catalog queries for schema objects, one for each kind.

Each returns `name` (unique in its kind), `create` (statements), `remove` (the statement that drops the object, or null),
`facts` (a JSON object that the statements do not tell, or null) and `reason` (why the object cannot be created elsewhere,
or null). Definitions are qualified, because sessions run with `search_path = pg_catalog`. Objects of extensions, of
PostgreSQL itself and of the pipeline are left out. Catalog columns that only some releases have are read through
`to_jsonb(row)`.
"""

from __future__ import annotations

from pipeline.connectors.postgres.schema.catalog_queries import COLLATION_OPTIONS, OWN_SCHEMA
from pipeline.connectors.postgres.schema.large_objects import READABLE


def own_objects(schema: str, class_name: str, oid: str) -> str:
    """Return the condition that an object belongs to the app: not to PostgreSQL, an extension or the pipeline."""
    return (
        f"{schema} NOT IN ('pg_catalog', 'information_schema', '{OWN_SCHEMA}') AND {schema} NOT LIKE 'pg\\_%%' "
        f"AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = '{class_name}'::regclass AND e.objid = {oid} "
        "AND e.deptype = 'e')"
    )


SCHEMAS = f"""
SELECT nspname AS name, ARRAY[format('CREATE SCHEMA IF NOT EXISTS %%I', nspname)] AS "create",
       format('DROP SCHEMA %%I', nspname) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM pg_namespace AS n WHERE {own_objects("nspname", "pg_namespace", "n.oid")} AND nspname <> 'public'
"""

EXTENSIONS = """
SELECT extname AS name,
       ARRAY[format('CREATE EXTENSION IF NOT EXISTS %%I SCHEMA %%I', extname, n.nspname)] AS "create",
       format('DROP EXTENSION %%I', extname) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM pg_extension AS x JOIN pg_namespace AS n ON n.oid = x.extnamespace WHERE extname <> 'plpgsql'
"""

COLLATIONS = f"""
SELECT q.name, ARRAY[format('CREATE COLLATION %%s (%%s)', q.name, q.options)] AS "create",
       format('DROP COLLATION %%s', q.name) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT format('%%I.%%I', n.nspname, c.collname) AS name,
           {COLLATION_OPTIONS} AS options
    FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
    WHERE {own_objects("n.nspname", "pg_collation", "c.oid")}
) AS q
"""

TEXT_SEARCH_DICTIONARIES = f"""
SELECT format('%%I.%%I', n.nspname, d.dictname) AS name,
       ARRAY[format('CREATE TEXT SEARCH DICTIONARY %%I.%%I (TEMPLATE = %%I.%%I%%s)', n.nspname, d.dictname, s.nspname,
                    t.tmplname, coalesce(', ' || d.dictinitoption, ''))] AS "create",
       format('DROP TEXT SEARCH DICTIONARY %%I.%%I', n.nspname, d.dictname) AS remove, NULL::jsonb AS facts,
       NULL::text AS reason
FROM pg_ts_dict AS d JOIN pg_namespace AS n ON n.oid = d.dictnamespace JOIN pg_ts_template AS t ON t.oid = d.dicttemplate
JOIN pg_namespace AS s ON s.oid = t.tmplnamespace WHERE {own_objects("n.nspname", "pg_ts_dict", "d.oid")}
"""

TEXT_SEARCH_CONFIGURATIONS = f"""
SELECT q.name, ARRAY[format('CREATE TEXT SEARCH CONFIGURATION %%s (PARSER = %%s)', q.name, q.parser)] || ARRAY(
           SELECT format('ALTER TEXT SEARCH CONFIGURATION %%s ADD MAPPING FOR %%I WITH %%s', q.name, t.alias, string_agg(
                      m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno))
           FROM pg_ts_config_map AS m JOIN ts_token_type(q.parser_oid) AS t ON t.tokid = m.maptokentype
           WHERE m.mapcfg = q.oid GROUP BY t.alias, t.tokid ORDER BY t.tokid) AS "create",
       format('DROP TEXT SEARCH CONFIGURATION %%s', q.name) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT c.oid, format('%%I.%%I', n.nspname, c.cfgname) AS name, format('%%I.%%I', s.nspname, p.prsname) AS parser,
           p.oid AS parser_oid
    FROM pg_ts_config AS c JOIN pg_namespace AS n ON n.oid = c.cfgnamespace JOIN pg_ts_parser AS p ON p.oid = c.cfgparser
    JOIN pg_namespace AS s ON s.oid = p.prsnamespace WHERE {own_objects("n.nspname", "pg_ts_config", "c.oid")}
) AS q
"""

SEQUENCES = f"""
SELECT format('%%I.%%I', n.nspname, c.relname) AS name,
       CASE WHEN d.deptype = 'i' THEN ARRAY[]::text[]
            ELSE ARRAY[format('CREATE %%sSEQUENCE %%I.%%I %%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, n.nspname,
                              c.relname, o.options)] END AS "create",
       CASE WHEN d.deptype = 'i' THEN NULL ELSE format('DROP SEQUENCE %%I.%%I', n.nspname, c.relname) END AS remove,
       jsonb_build_object('options', o.options, 'start', s.seqstart, 'owned', d.deptype IS NOT NULL,
                          'table', (SELECT jsonb_build_array(tn.nspname, t.relname) FROM pg_class AS t
                                    JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
                                    WHERE t.oid = coalesce(d.refobjid, u.adrelid)),
                          'column', (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = coalesce(d.refobjid, u.adrelid)
                                     AND a.attnum = coalesce(d.refobjsubid, u.adnum))) AS facts,
       CASE WHEN NOT has_sequence_privilege(c.oid, 'SELECT') THEN 'the privilege SELECT on it is missing' END AS reason
FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
     AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN LATERAL (SELECT f.adrelid, f.adnum FROM pg_depend AS x JOIN pg_attrdef AS f ON f.oid = x.objid
                   JOIN pg_class AS k ON k.oid = f.adrelid JOIN pg_namespace AS m ON m.oid = k.relnamespace
                   JOIN pg_attribute AS b ON b.attrelid = f.adrelid AND b.attnum = f.adnum
                   WHERE x.classid = 'pg_attrdef'::regclass AND x.refclassid = 'pg_class'::regclass AND x.refobjid = c.oid
                   ORDER BY k.relispartition, m.nspname COLLATE "C", k.relname COLLATE "C", b.attname COLLATE "C"
                   LIMIT 1) AS u ON true
CROSS JOIN LATERAL (SELECT format('AS %%s INCREMENT BY %%s MINVALUE %%s MAXVALUE %%s START WITH %%s CACHE %%s%%s',
    format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
    CASE WHEN s.seqcycle THEN ' CYCLE' ELSE ' NO CYCLE' END) AS options) AS o
WHERE c.relpersistence <> 't' AND {own_objects("n.nspname", "pg_class", "c.oid")}
"""
"""`last_value` and `is_called` are not transactional and stand in each sequence itself; `objects.py` reads them."""

VIEWS = f"""
SELECT q.name, ARRAY[format('CREATE %%s %%s (%%s)%%s AS %%s', q.verb, q.name, q.columns, q.options, q.body)] || q.defaults
           || q.indexes AS "create",
       format('DROP %%s %%s', upper(q.kind), q.name) AS remove,
       CASE WHEN q.kind = 'materialized view' THEN jsonb_build_object('populated', q.populated) END AS facts,
       NULL::text AS reason, q.kind
FROM (
    SELECT format('%%I.%%I', n.nspname, c.relname) AS name, c.relispopulated AS populated,
           CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END AS kind,
           CASE c.relkind WHEN 'v' THEN 'OR REPLACE VIEW' ELSE 'MATERIALIZED VIEW' END AS verb,
           (SELECT string_agg(format('%%I', a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
           coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') AS options,
           rtrim(pg_get_viewdef(c.oid), ';') || CASE c.relkind WHEN 'm' THEN ' WITH NO DATA' ELSE '' END AS body,
           ARRAY(SELECT format('ALTER VIEW %%I.%%I ALTER COLUMN %%I SET DEFAULT %%s', n.nspname, c.relname, a.attname,
                               pg_get_expr(f.adbin, f.adrelid))
                 FROM pg_attrdef AS f JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                 WHERE f.adrelid = c.oid AND c.relkind = 'v' ORDER BY a.attnum) AS defaults,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid ORDER BY x.relname) AS indexes
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND {own_objects("n.nspname", "pg_class", "c.oid")}
) AS q
"""

DOMAIN_CONSTRAINTS = f"""
SELECT q.name, ARRAY[q.alter || 'ADD CONSTRAINT ' || q.quoted || ' ' || q.definition] AS "create",
       q.alter || 'DROP CONSTRAINT ' || q.quoted AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT format('%%I ON %%I.%%I', k.conname, n.nspname, t.typname) AS name, quote_ident(k.conname) AS quoted,
           format('ALTER DOMAIN %%I.%%I ', n.nspname, t.typname) AS alter, pg_get_constraintdef(k.oid) AS definition
    FROM pg_constraint AS k JOIN pg_type AS t ON t.oid = k.contypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE k.contype = 'c' AND NOT k.convalidated AND {own_objects("n.nspname", "pg_type", "t.oid")}
) AS q
"""

RULES = f"""
SELECT format('%%I ON %%I.%%I', r.rulename, n.nspname, c.relname) AS name,
       ARRAY[rtrim(regexp_replace(pg_get_ruledef(r.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE'), ';')]
           || CASE r.ev_enabled WHEN 'O' THEN ARRAY[]::text[]
              ELSE ARRAY[format('ALTER TABLE %%I.%%I %%s RULE %%I', n.nspname, c.relname, CASE r.ev_enabled
                   WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename)] END AS "create",
       format('DROP RULE %%I ON %%I.%%I', r.rulename, n.nspname, c.relname) AS remove, NULL::jsonb AS facts,
       NULL::text AS reason
FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND {own_objects("n.nspname", "pg_class", "c.oid")}
"""

TRIGGERS = f"""
WITH RECURSIVE parts AS (
    SELECT t.oid AS root, t.oid, t.tgrelid, t.tgname, t.tgenabled, t.tgenabled AS above, 0 AS depth FROM pg_trigger AS t
    WHERE NOT t.tgisinternal AND coalesce((to_jsonb(t) ->> 'tgparentid')::oid, 0) = 0
    UNION ALL
    SELECT p.root, c.oid, c.tgrelid, c.tgname, c.tgenabled, p.tgenabled, p.depth + 1
    FROM parts AS p JOIN pg_trigger AS c ON (to_jsonb(c) ->> 'tgparentid')::oid = p.oid
)
SELECT format('%%I ON %%I.%%I', t.tgname, n.nspname, c.relname) AS name,
       ARRAY[pg_get_triggerdef(t.oid)] || CASE t.tgenabled WHEN 'O' THEN ARRAY[]::text[]
           ELSE ARRAY[format('ALTER TABLE %%I.%%I %%s TRIGGER %%I', n.nspname, c.relname, CASE t.tgenabled
                WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)] END || ARRAY(
           SELECT format('ALTER TABLE %%s %%s TRIGGER %%I', p.tgrelid::regclass, CASE p.tgenabled WHEN 'O' THEN 'ENABLE'
                  WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, p.tgname)
           FROM parts AS p WHERE p.root = t.oid AND p.tgenabled <> p.above ORDER BY p.depth, p.tgrelid::regclass::text)
           AS "create",
       format('DROP TRIGGER %%I ON %%I.%%I', t.tgname, n.nspname, c.relname) AS remove, NULL::jsonb AS facts,
       NULL::text AS reason
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND coalesce((to_jsonb(t) ->> 'tgparentid')::oid, 0) = 0
  AND {own_objects("n.nspname", "pg_class", "c.oid")}
"""
"""A partition has a trigger of its own for each of the partitioned table, which may be in another state than that."""

POLICIES = f"""
SELECT format('%%I ON %%I.%%I', p.polname, n.nspname, c.relname) AS name,
       ARRAY[format('CREATE POLICY %%I ON %%I.%%I AS %%s FOR %%s TO %%s%%s%%s', p.polname, n.nspname, c.relname,
           CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                ELSE 'ALL' END,
           (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r)
            FROM unnest(p.polroles) AS r),
           coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''),
           coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''))] AS "create",
       format('DROP POLICY %%I ON %%I.%%I', p.polname, n.nspname, c.relname) AS remove, NULL::jsonb AS facts,
       NULL::text AS reason
FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE {own_objects("n.nspname", "pg_class", "c.oid")}
"""

ROW_SECURITY = f"""
SELECT format('%%I.%%I', n.nspname, c.relname) AS name,
       array_remove(ARRAY[CASE WHEN c.relrowsecurity
                               THEN format('ALTER TABLE %%I.%%I ENABLE ROW LEVEL SECURITY', n.nspname, c.relname) END,
                          CASE WHEN c.relforcerowsecurity
                               THEN format('ALTER TABLE %%I.%%I FORCE ROW LEVEL SECURITY', n.nspname, c.relname) END], NULL)
           AS "create",
       format('ALTER TABLE %%I.%%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', n.nspname, c.relname) AS remove,
       NULL::jsonb AS facts, NULL::text AS reason
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE (c.relrowsecurity OR c.relforcerowsecurity) AND {own_objects("n.nspname", "pg_class", "c.oid")}
"""

STATISTICS = f"""
SELECT format('%%I.%%I', n.nspname, s.stxname) AS name,
       ARRAY[pg_get_statisticsobjdef(s.oid)] || CASE WHEN coalesce((to_jsonb(s) ->> 'stxstattarget')::int, -1) < 0
           THEN ARRAY[]::text[] ELSE ARRAY[format('ALTER STATISTICS %%I.%%I SET STATISTICS %%s', n.nspname, s.stxname,
                                                  to_jsonb(s) ->> 'stxstattarget')] END AS "create",
       format('DROP STATISTICS %%I.%%I', n.nspname, s.stxname) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
WHERE {own_objects("n.nspname", "pg_statistic_ext", "s.oid")}
"""

COMMENTS = """
SELECT o.type || ' ' || o.identity AS name,
       ARRAY[format('COMMENT ON %%s %%s IS %%L', k.word, k.identity, d.description)] AS "create",
       format('COMMENT ON %%s %%s IS NULL', k.word, k.identity) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM pg_description AS d
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS o
CROSS JOIN LATERAL (SELECT CASE
    WHEN o.type IN ('table column', 'view column', 'materialized view column', 'composite type column',
                    'foreign table column') THEN 'COLUMN'
    WHEN o.type = 'table constraint' THEN 'CONSTRAINT'
    WHEN o.type = 'domain constraint' THEN 'CONSTRAINT'
    WHEN o.type = 'composite type' THEN 'TYPE'
    WHEN o.type = 'statistics object' THEN 'STATISTICS' ELSE upper(o.type) END AS word,
    coalesce((SELECT format('%%I ON DOMAIN %%I.%%I', c.conname, n.nspname, t.typname)
              FROM pg_constraint AS c JOIN pg_type AS t ON t.oid = c.contypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
              WHERE d.classoid = 'pg_constraint'::regclass AND c.oid = d.objoid), o.identity) AS identity) AS k
WHERE (d.objoid >= 16384 OR d.classoid = 'pg_largeobject'::regclass)
  AND coalesce(o.schema, '') NOT IN ('pg_catalog', 'information_schema', '_pipeline')
  AND coalesce(o.schema, '') NOT LIKE 'pg\\_%%'
  AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')
  AND o.type NOT IN ('database', 'role', 'tablespace', 'extension')
"""

PUBLICATIONS = """
SELECT pubname AS name, ARRAY[]::text[] AS "create", NULL::text AS remove, NULL::jsonb AS facts,
       'a copy does not publish; create it where it is needed' AS reason
FROM pg_publication
"""

EVENT_TRIGGERS = """
SELECT quote_ident(t.evtname) AS name,
       ARRAY[format('CREATE EVENT TRIGGER %%I ON %%I%%s EXECUTE FUNCTION %%s()', t.evtname, t.evtevent,
             (SELECT ' WHEN TAG IN (' || string_agg(quote_literal(g), ', ') || ')' FROM unnest(t.evttags) AS g),
             t.evtfoid::regproc)] AS "create",
       format('DROP EVENT TRIGGER %%I', t.evtname) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM pg_event_trigger AS t
WHERE NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid
                  AND e.deptype = 'e')
"""

OTHERS = """
SELECT q.kind, q.name, ARRAY[]::text[] AS "create", NULL::text AS remove, NULL::jsonb AS facts, q.reason
FROM (
    SELECT 'language' AS kind, quote_ident(lanname) AS name, 'pg_language'::regclass AS class, oid,
           'its handler is written in C; create it at the destination' AS reason FROM pg_language
    UNION ALL
    SELECT 'access method', quote_ident(amname), 'pg_am'::regclass, oid,
           'its handler is written in C; create it at the destination' FROM pg_am
    UNION ALL
    SELECT 'conversion', format('%%I.%%I', n.nspname, conname), 'pg_conversion'::regclass, c.oid,
           'its function is written in C; create it at the destination'
    FROM pg_conversion AS c JOIN pg_namespace AS n ON n.oid = connamespace
    UNION ALL
    SELECT 'text search parser', format('%%I.%%I', n.nspname, prsname), 'pg_ts_parser'::regclass, p.oid,
           'its functions are written in C; create it at the destination'
    FROM pg_ts_parser AS p JOIN pg_namespace AS n ON n.oid = prsnamespace
    UNION ALL
    SELECT 'text search template', format('%%I.%%I', n.nspname, tmplname), 'pg_ts_template'::regclass, t.oid,
           'its functions are written in C; create it at the destination'
    FROM pg_ts_template AS t JOIN pg_namespace AS n ON n.oid = tmplnamespace
    UNION ALL
    SELECT 'transform', format('for %%s, language %%I', trftype::regtype, lanname), 'pg_transform'::regclass, t.oid,
           'its functions are written in C; create it at the destination'
    FROM pg_transform AS t JOIN pg_language AS l ON l.oid = trflang
    UNION ALL
    SELECT 'foreign data wrapper', quote_ident(fdwname), 'pg_foreign_data_wrapper'::regclass, oid,
           'it leads to other servers; create it where it is needed' FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'foreign server', quote_ident(srvname), 'pg_foreign_server'::regclass, oid,
           'a copy has no passwords of other servers; create it where it is needed' FROM pg_foreign_server
    UNION ALL
    SELECT 'subscription', quote_ident(subname), 'pg_subscription'::regclass, 16384,
           'a copy does not subscribe; create it where it is needed'
    FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = subdbid WHERE datname = current_database()
) AS q
WHERE q.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = q.class AND e.objid = q.oid
                                     AND e.deptype = 'e')
"""
"""Kinds of which none is moved. Object ids below 16384 are PostgreSQL's own; that of a subscription only superusers see."""

UNREADABLE_LARGE_OBJECTS = f"""
SELECT format('%%s, the first one with oid %%s', count(*), min(oid::bigint)) AS name, ARRAY[]::text[] AS "create",
       NULL::text AS remove, NULL::jsonb AS facts, 'the privilege SELECT on it is missing' AS reason
FROM pg_largeobject_metadata WHERE NOT {READABLE} HAVING count(*) > 0
"""

FOREIGN_TABLES = f"""
SELECT format('%%I.%%I', n.nspname, c.relname) AS name, ARRAY[]::text[] AS "create", NULL::text AS remove,
       NULL::jsonb AS facts, format('its rows are at another server (%%s)', v.srvname) AS reason
FROM pg_foreign_table AS f JOIN pg_class AS c ON c.oid = f.ftrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_foreign_server AS v ON v.oid = f.ftserver WHERE {own_objects("n.nspname", "pg_class", "c.oid")}
"""
