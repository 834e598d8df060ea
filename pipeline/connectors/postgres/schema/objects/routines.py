"""Catalog queries for functions, procedures, aggregates, operators and casts, of the form that queries.py describes."""

from __future__ import annotations

from pipeline.connectors.postgres.schema.objects.queries import own_objects


def _modifies(option: str, function: str, letter: str) -> str:
    """Return the SQL of what a final function does to its state, unless it is what PostgreSQL takes without a word."""
    words = f"CASE {letter} WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END"
    usual = "CASE g.aggkind WHEN 'n' THEN 'r' ELSE 'w' END"
    return f"CASE WHEN {function} <> 0 AND {letter}::text <> {usual} THEN '{option} = ' || {words} END"


FUNCTIONS = f"""
SELECT q.name, ARRAY[q.definition] AS "create", format('DROP %%s %%s', q.kind, q.name) AS remove, NULL::jsonb AS facts,
       CASE WHEN q.language IN ('c', 'internal') THEN 'it is written in C' END AS reason, lower(q.kind) AS kind
FROM (
    SELECT format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
           CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind, l.lanname AS language,
           pg_get_functiondef(p.oid) AS definition
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace JOIN pg_language AS l ON l.oid = p.prolang
    WHERE p.prokind IN ('f', 'p', 'w') AND {own_objects("n.nspname", "pg_proc", "p.oid")}
      AND NOT EXISTS (SELECT FROM pg_depend AS i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid
                      AND i.deptype = 'i')  -- constructors of range types come with their type
) AS q
"""

AGGREGATES = f"""
SELECT q.name, ARRAY[format('CREATE AGGREGATE %%s (%%s)', q.name, q.options)] AS "create",
       format('DROP AGGREGATE %%s', q.name) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT format('%%I.%%I(%%s)', n.nspname, p.proname,
                  coalesce(nullif(pg_get_function_identity_arguments(p.oid), ''), '*')) AS name,
           concat_ws(', ', 'SFUNC = ' || g.aggtransfn::regproc, 'STYPE = ' || format_type(g.aggtranstype, NULL),
                     'SSPACE = ' || nullif(g.aggtransspace, 0),
                     'FINALFUNC = ' || nullif(g.aggfinalfn, 0)::regproc, CASE WHEN g.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
                     {_modifies("FINALFUNC_MODIFY", "g.aggfinalfn", "g.aggfinalmodify")},
                     'COMBINEFUNC = ' || nullif(g.aggcombinefn, 0)::regproc,
                     'SERIALFUNC = ' || nullif(g.aggserialfn, 0)::regproc,
                     'DESERIALFUNC = ' || nullif(g.aggdeserialfn, 0)::regproc,
                     'INITCOND = ' || quote_literal(g.agginitval),
                     'MSFUNC = ' || nullif(g.aggmtransfn, 0)::regproc,
                     'MINVFUNC = ' || nullif(g.aggminvtransfn, 0)::regproc,
                     'MSTYPE = ' || format_type(nullif(g.aggmtranstype, 0), NULL),
                     'MSSPACE = ' || nullif(g.aggmtransspace, 0),
                     'MFINALFUNC = ' || nullif(g.aggmfinalfn, 0)::regproc,
                     CASE WHEN g.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END,
                     {_modifies("MFINALFUNC_MODIFY", "g.aggmfinalfn", "g.aggmfinalmodify")},
                     'MINITCOND = ' || quote_literal(g.aggminitval),
                     'SORTOP = OPERATOR(' || (SELECT format('%%I.%%s', s.nspname, o.oprname) FROM pg_operator AS o
                         JOIN pg_namespace AS s ON s.oid = o.oprnamespace WHERE o.oid = nullif(g.aggsortop, 0)) || ')',
                     'PARALLEL = ' || CASE p.proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' END,
                     CASE WHEN g.aggkind = 'h' THEN 'HYPOTHETICAL' END) AS options
    FROM pg_aggregate AS g JOIN pg_proc AS p ON p.oid = g.aggfnoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE {own_objects("n.nspname", "pg_proc", "p.oid")}
) AS q
"""

OPERATORS = f"""
SELECT q.name, ARRAY[format('CREATE OPERATOR %%s (%%s)', q.bare, q.options)] AS "create",
       format('DROP OPERATOR %%s', q.name) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT format('%%I.%%s (%%s, %%s)', n.nspname, o.oprname, coalesce(format_type(nullif(o.oprleft, 0), NULL), 'NONE'),
                  format_type(o.oprright, NULL)) AS name,
           format('%%I.%%s', n.nspname, o.oprname) AS bare,
           concat_ws(', ', 'FUNCTION = ' || o.oprcode::regproc, 'LEFTARG = ' || format_type(nullif(o.oprleft, 0), NULL),
                     'RIGHTARG = ' || format_type(o.oprright, NULL),
                     'COMMUTATOR = OPERATOR(' || (SELECT format('%%I.%%s', s.nspname, c.oprname) FROM pg_operator AS c
                         JOIN pg_namespace AS s ON s.oid = c.oprnamespace WHERE c.oid = nullif(o.oprcom, 0)) || ')',
                     'NEGATOR = OPERATOR(' || (SELECT format('%%I.%%s', s.nspname, c.oprname) FROM pg_operator AS c
                         JOIN pg_namespace AS s ON s.oid = c.oprnamespace WHERE c.oid = nullif(o.oprnegate, 0)) || ')',
                     'RESTRICT = ' || nullif(o.oprrest, 0)::regproc, 'JOIN = ' || nullif(o.oprjoin, 0)::regproc,
                     CASE WHEN o.oprcanhash THEN 'HASHES' END, CASE WHEN o.oprcanmerge THEN 'MERGES' END) AS options
    FROM pg_operator AS o JOIN pg_namespace AS n ON n.oid = o.oprnamespace
    WHERE o.oprcode <> 0 AND {own_objects("n.nspname", "pg_operator", "o.oid")}
) AS q
"""

OPERATOR_CLASSES = f"""
SELECT format('%%I.%%I USING %%I', n.nspname, c.opcname, m.amname) AS name, ARRAY[]::text[] AS "create",
       NULL::text AS remove, NULL::jsonb AS facts, 'operator classes are not carried' AS reason
FROM pg_opclass AS c JOIN pg_namespace AS n ON n.oid = c.opcnamespace JOIN pg_am AS m ON m.oid = c.opcmethod
WHERE {own_objects("n.nspname", "pg_opclass", "c.oid")}
"""

CASTS = """
SELECT q.name, ARRAY[format('CREATE CAST %%s %%s%%s', q.name, q.how, q.context)] AS "create",
       format('DROP CAST %%s', q.name) AS remove, NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT format('(%%s AS %%s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)) AS name,
           CASE c.castmethod WHEN 'f' THEN format('WITH FUNCTION %%s', c.castfunc::regprocedure)
                             WHEN 'i' THEN 'WITH INOUT' ELSE 'WITHOUT FUNCTION' END AS how,
           CASE c.castcontext WHEN 'a' THEN ' AS ASSIGNMENT' WHEN 'i' THEN ' AS IMPLICIT' ELSE '' END AS context
    FROM pg_cast AS c WHERE c.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_cast'::regclass AND e.objid = c.oid
                      AND e.deptype IN ('e', 'i'))
) AS q
"""
