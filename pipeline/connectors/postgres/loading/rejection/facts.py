"""What the rejection of a record depends on, as texts: the record is tried again when its text no longer holds.

A text is kept with the record. It covers the definition of the table and the stream, as far as they can be the reason. There
is none for a reason that may end unseen: other rows, a trigger, a function that is not built in, the time of day, a column
that the stream lacks, a partition. Such a record is tried in every Movement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.codec.event_files.header import encode_schema
from pipeline.connectors.postgres.loading.rejection.reasons import RejectReason
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.rejected_record import digest_of
from pipeline.domain.schema import StreamSchema

_FACTS = """
WITH RECURSIVE columns AS (
    SELECT * FROM pg_attribute WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped AND attname = ANY (%(names)s)),
types(oid) AS (
    SELECT atttypid FROM columns UNION SELECT part FROM types AS s JOIN pg_type AS t ON t.oid = s.oid,
    LATERAL (VALUES (t.typbasetype), (CASE WHEN t.typcategory = 'A' THEN t.typelem END)) AS p(part) WHERE part <> 0)
SELECT 'value', attname::text, concat_ws(' ', atttypid, atttypmod, attcollation) FROM columns
UNION ALL SELECT 'value', t.oid::text, concat_ws(' ', t.typtype, t.typnotnull,
    (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid))
FROM types AS s JOIN pg_type AS t ON t.oid = s.oid
UNION ALL SELECT 'domain', k.conname::text, coalesce(k.conbin::text, '')
FROM types AS s JOIN pg_constraint AS k ON k.contypid = s.oid
UNION ALL SELECT 'null', attname::text, '' FROM columns WHERE attnotnull
UNION ALL SELECT 'check', conname::text, conbin::text FROM pg_constraint
WHERE conrelid = %(table)s AND contype = 'c' AND conkey OPERATOR(pg_catalog.<@) (SELECT array_agg(attnum) FROM columns)
UNION ALL SELECT 'unseen', '', '' FROM pg_class
WHERE oid = %(table)s AND (relkind <> 'r' OR relispartition OR relhassubclass)
UNION ALL SELECT 'unseen', '', '' FROM types AS s JOIN pg_type AS t ON t.oid = s.oid
WHERE t.typtype NOT IN ('e', 'd') AND t.typcategory <> 'A' AND t.typnamespace <> 'pg_catalog'::regnamespace
ORDER BY 1, 2, 3
"""
"""Kind, name, and definition as the catalog stores it, which is the same under every `search_path`. `unseen`: types and tables
of which more would have to be known."""
_CHANGES = """
SELECT EXISTS (SELECT FROM pg_proc AS p WHERE (p.provolatile <> 'i' OR p.pronamespace <> 'pg_catalog'::regnamespace)
    AND (p.oid = ANY (%(functions)s::oid[])
         OR p.oid IN (SELECT o.oprcode FROM pg_operator AS o WHERE o.oid = ANY (%(operators)s::oid[]))))
"""
_FUNCTION, _OPERATOR = re.compile(r":\w*funcid (\d+)"), re.compile(r":opno (\d+)")
_CONTEXT = re.compile("SQLVALUEFUNCTION|COERCEVIAIO|NEXTVALUEEXPR|ROWCOMPARE|XMLEXPR|JSON")
"""Nodes of an expression whose value may depend on the session, or that call functions without naming them:
https://github.com/postgres/postgres/blob/master/src/include/nodes/primnodes.h"""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The texts that hold for a table (schema and name) and its stream, by kind and name of what may reject a record."""

    table: tuple[str, str]
    texts: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, reason: RejectReason) -> str | None:
        """Return the text to keep with a record that is rejected for this reason."""
        if reason.cause is None:
            return None
        kind, schema, table, name = reason.cause
        if not table:  # the value itself, or its domain
            return self.texts.get(("value", ""))
        return self.texts.get((kind, name)) if (schema, table) == self.table else None


def read_facts(connection: Connection, target: Target, schema: StreamSchema, *, acts: bool) -> TableFacts:
    """Return what holds now for records of the stream `schema`. `acts`: triggers or rules change rows while they are loaded."""
    table = (target.table.schema, target.table.name)
    parameters = {"table": target.table.oid, "names": list(target.columns)}
    rows = connection.execute(_FACTS, parameters).fetchall()
    domains = " ".join(text for kind, _, text in rows if kind == "domain")
    if acts or any(kind == "unseen" for kind, *_ in rows) or _may_change(connection, domains):
        return TableFacts(table)
    base = [str(connection.info.server_version), encode_schema(schema).decode()]
    base += [repr(row) for row in rows if row[0] in ("value", "domain")]
    texts = {("value", ""): digest_of(*base)}
    for kind, name, definition in rows:
        if kind == "null" or (kind == "check" and not _may_change(connection, definition)):
            texts[kind, name] = digest_of(kind, *base, name, definition)
    return TableFacts(table, texts)


def _may_change(connection: Connection, expressions: str) -> bool:
    """Whether expressions may give another value for the same row later."""
    if not expressions:
        return False
    found = {"functions": _FUNCTION.findall(expressions), "operators": _OPERATOR.findall(expressions)}
    return bool(_CONTEXT.search(expressions)) or connection.execute(_CHANGES, found).fetchone() == (True,)
