"""The catalog queries for owners and privileges. They name roles, which belong to a server and not to a database."""

from __future__ import annotations

from pipeline.connectors.postgres.schema.objects.queries import own_objects

NOT_ASKED = "roles belong to a server; --grants moves it where the destination has the roles"

_RELATION_KIND = """CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                        ELSE 'TABLE' END"""
_ROUTINE = "format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))"
_FREE_TYPE = """(t.typtype IN ('d', 'e', 'r') OR t.typtype = 'c'
      AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'))"""

_GRANTEE = "CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
_OPTION = "CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
_OTHERS = "FROM aclexplode(q.acl) AS a WHERE a.grantee <> q.owner"

GRANTS = f"""
SELECT q.kind || ' ' || q.name || q.columns AS name,
       CASE WHEN q.public THEN ARRAY[format('REVOKE ALL ON %%s %%s FROM PUBLIC', q.kind, q.name)] ELSE ARRAY[]::text[] END
       || ARRAY(SELECT format('GRANT %%s%%s ON %%s %%s TO %%s%%s', a.privilege_type, q.columns, q.kind, q.name,
                   {_GRANTEE}, {_OPTION}) {_OTHERS} ORDER BY 1) AS "create",
       (SELECT format('REVOKE ALL%%s ON %%s %%s FROM %%s', q.columns, q.kind, q.name,
                   string_agg(DISTINCT {_GRANTEE}, ', ')) {_OTHERS} HAVING count(*) > 0) AS remove,
       NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, format('%%I.%%I', n.nspname, c.relname) AS name,
           '' AS columns, c.relacl AS acl, c.relowner AS owner, false AS public
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relacl IS NOT NULL AND {own_objects("n.nspname", "pg_class", "c.oid")}
    UNION ALL
    SELECT 'TABLE', format('%%I.%%I', n.nspname, c.relname), format(' (%%I)', t.attname), t.attacl, c.relowner, false
    FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.attacl IS NOT NULL AND NOT t.attisdropped AND {own_objects("n.nspname", "pg_class", "c.oid")}
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, {_ROUTINE}, '', p.proacl, p.proowner, true
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.proacl IS NOT NULL AND {own_objects("n.nspname", "pg_proc", "p.oid")}
    UNION ALL
    SELECT 'TYPE', format('%%I.%%I', n.nspname, t.typname), '', t.typacl, t.typowner, true
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typacl IS NOT NULL AND {_FREE_TYPE} AND {own_objects("n.nspname", "pg_type", "t.oid")}
    UNION ALL
    SELECT 'SCHEMA', quote_ident(n.nspname), '', n.nspacl, n.nspowner, false
    FROM pg_namespace AS n WHERE n.nspacl IS NOT NULL AND {own_objects("n.nspname", "pg_namespace", "n.oid")}
      AND n.nspname <> 'public'
    UNION ALL
    SELECT 'LARGE OBJECT', oid::text, '', lomacl, lomowner, false FROM pg_largeobject_metadata WHERE lomacl IS NOT NULL
) AS q
"""

_DEFAULTS = """'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(pg_get_userbyid(d.defaclrole))
           || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '')"""
_DEFAULT_OF = """CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END"""

DEFAULT_PRIVILEGES = f"""
SELECT replace(q.statement, 'ALTER DEFAULT', 'default') || ' ON ' || q.kind AS name,
       CASE WHEN q.public THEN ARRAY[format('%%s REVOKE ALL ON %%s FROM PUBLIC', q.statement, q.kind)] ELSE ARRAY[]::text[] END
       || ARRAY(SELECT format('%%s GRANT %%s ON %%s TO %%s%%s', q.statement, a.privilege_type, q.kind, {_GRANTEE}, {_OPTION})
                {_OTHERS} ORDER BY 1) AS "create",
       (SELECT format('%%s REVOKE ALL ON %%s FROM %%s', q.statement, q.kind, string_agg(DISTINCT {_GRANTEE}, ', '))
        {_OTHERS} HAVING count(*) > 0) AS remove,
       NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT {_DEFAULTS} AS statement, {_DEFAULT_OF} AS kind, d.defaclacl AS acl, d.defaclrole AS owner,
           n.nspname IS NULL AND d.defaclobjtype IN ('f', 'T') AS public
    FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
) AS q
"""

OWNERS = f"""
SELECT q.kind || ' ' || q.name AS name,
       ARRAY[format('ALTER %%s %%s OWNER TO %%I', q.kind, q.name, pg_get_userbyid(q.owner))] AS "create",
       NULL::text AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT {_RELATION_KIND} AS kind, format('%%I.%%I', n.nspname, c.relname) AS name, c.relowner AS owner
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relpersistence <> 't'
      AND {own_objects("n.nspname", "pg_class", "c.oid")}
      AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass
               AND e.objid = c.oid AND e.refobjsubid > 0 AND e.deptype IN ('a', 'i')))
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, {_ROUTINE}, p.proowner
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE {own_objects("n.nspname", "pg_proc", "p.oid")}
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, format('%%I.%%I', n.nspname, t.typname), t.typowner
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE {_FREE_TYPE} AND {own_objects("n.nspname", "pg_type", "t.oid")}
    UNION ALL
    SELECT 'SCHEMA', quote_ident(n.nspname), n.nspowner FROM pg_namespace AS n
    WHERE {own_objects("n.nspname", "pg_namespace", "n.oid")} AND n.nspname <> 'public'
    UNION ALL
    SELECT 'COLLATION', format('%%I.%%I', n.nspname, o.collname), o.collowner
    FROM pg_collation AS o JOIN pg_namespace AS n ON n.oid = o.collnamespace
    WHERE {own_objects("n.nspname", "pg_collation", "o.oid")}
    UNION ALL
    SELECT 'STATISTICS', format('%%I.%%I', n.nspname, s.stxname), s.stxowner
    FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
    WHERE {own_objects("n.nspname", "pg_statistic_ext", "s.oid")}
    UNION ALL
    SELECT 'TEXT SEARCH DICTIONARY', format('%%I.%%I', n.nspname, s.dictname), s.dictowner
    FROM pg_ts_dict AS s JOIN pg_namespace AS n ON n.oid = s.dictnamespace
    WHERE {own_objects("n.nspname", "pg_ts_dict", "s.oid")}
    UNION ALL
    SELECT 'TEXT SEARCH CONFIGURATION', format('%%I.%%I', n.nspname, s.cfgname), s.cfgowner
    FROM pg_ts_config AS s JOIN pg_namespace AS n ON n.oid = s.cfgnamespace
    WHERE {own_objects("n.nspname", "pg_ts_config", "s.oid")}
    UNION ALL
    SELECT 'LARGE OBJECT', oid::text, lomowner FROM pg_largeobject_metadata
) AS q
"""
