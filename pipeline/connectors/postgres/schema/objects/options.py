"""The catalog query for the options of tables, materialized views and indexes. queries.py describes its form."""

from __future__ import annotations

from pipeline.connectors.postgres.schema.objects.queries import own_objects


def _storage(letter: str) -> str:
    """Return the SQL of the name of a storage strategy."""
    return f"CASE {letter} WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'x' THEN 'EXTENDED' ELSE 'MAIN' END"


TABLE_OPTIONS = f"""
SELECT format('%%s: %%s', t.name, o.what) AS name, ARRAY[t.alter || o.how] AS "create", t.alter || o.back AS remove,
       NULL::jsonb AS facts, NULL::text AS reason
FROM (
    SELECT c.*, format('%%I.%%I', n.nspname, c.relname) AS name, format('ALTER TABLE ONLY %%I.%%I ', n.nspname, c.relname) AS alter
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND {own_objects("n.nspname", "pg_class", "c.oid")}
) AS t CROSS JOIN LATERAL (
    SELECT split_part(r, '=', 1) AS what, format('SET (%%s)', r) AS how, format('RESET (%%s)', split_part(r, '=', 1)) AS back
    FROM (SELECT unnest(t.reloptions) WHERE t.relkind <> 'm' UNION ALL
          SELECT 'toast.' || unnest(reloptions) FROM pg_class WHERE oid = t.reltoastrelid) AS q(r)
    UNION ALL
    SELECT 'replica identity', 'REPLICA IDENTITY ' || CASE t.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
           ELSE (SELECT format('USING INDEX %%I', x.relname) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                 WHERE i.indrelid = t.oid AND i.indisreplident) END, 'REPLICA IDENTITY DEFAULT'
    WHERE t.relreplident <> 'd'
    UNION ALL
    SELECT 'type', 'OF ' || format_type(t.reloftype, NULL), 'NOT OF' WHERE t.reloftype <> 0
    UNION ALL
    SELECT 'clustering', format('CLUSTER ON %%I', x.relname), 'SET WITHOUT CLUSTER'
    FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = t.oid AND i.indisclustered
    UNION ALL
    SELECT format('%%s of %%I', k.what, a.attname), format('ALTER COLUMN %%I %%s', a.attname, k.how),
           format('ALTER COLUMN %%I %%s', a.attname, k.back)
    FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid CROSS JOIN LATERAL (VALUES
        ('storage', CASE WHEN a.attstorage <> y.typstorage THEN 'SET STORAGE ' || {_storage("a.attstorage")} END,
         'SET STORAGE ' || {_storage("y.typstorage")}),
        ('statistics', 'SET STATISTICS ' || CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END, 'SET STATISTICS -1'),
        ('compression', 'SET COMPRESSION ' || CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
         'SET COMPRESSION default'),
        ('options', 'SET (' || array_to_string(a.attoptions, ', ') || ')', 'RESET (n_distinct, n_distinct_inherited)')
    ) AS k(what, how, back)
    WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND k.how IS NOT NULL
) AS o
UNION ALL
SELECT format('%%s: statistics of column %%s', x.name, x.attnum), ARRAY[x.alter || x.attstattarget], x.alter || -1, NULL, NULL
FROM (
    SELECT format('%%I.%%I', n.nspname, c.relname) AS name, a.attnum, a.attstattarget,
           format('ALTER INDEX %%I.%%I ALTER COLUMN %%s SET STATISTICS ', n.nspname, c.relname, a.attnum) AS alter
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('i', 'I') AND a.attstattarget >= 0 AND {own_objects("n.nspname", "pg_class", "c.oid")}
) AS x
"""
"""Each option by itself, so that one that the source resets is reset. Storage parameters of a materialized view are in its
statement, those of an index in that of the index."""
