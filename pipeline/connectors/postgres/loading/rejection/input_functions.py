"""The functions with which a COPY reads values. A COPY ends at the first value that does not fit; these find all."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pipeline.connectors.postgres.loading.rejection.bisection import PartWork, part_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_INPUTS = """
SELECT a.attname, n.nspname, p.proname, p.pronargs, CASE WHEN t.typelem <> 0 THEN t.typelem ELSE t.oid END, a.atttypmod
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_proc AS p ON p.oid = t.typinput JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND p.proname <> 'textin' ORDER BY a.attnum
"""
"""The arguments are those that COPY gives: https://www.postgresql.org/docs/current/sql-createtype.html, `input_function`."""


def input_works(connection: Connection, stage: str, columns: Collection[str], texts: str) -> Iterator[PartWork]:
    """Give the work that reads the values of each of the columns of a stage from the texts in the table `texts`."""
    for name, schema, function, count, type_, modifier in connection.execute(_INPUTS, (stage,)):
        if name in columns:
            arguments = [f"pg_catalog.textout(s.{quoted(name)})", f"{type_}::oid", str(modifier)][:count]
            read = f"{qualified(schema, function)}({', '.join(arguments)})"
            yield PartWork([f"PERFORM {read} IS NULL FROM {part_of(texts)} AS s"], column=name)
