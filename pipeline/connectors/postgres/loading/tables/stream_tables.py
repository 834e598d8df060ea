"""The tables of a session's streams: created when they are first needed, and widened for values that they cannot hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl.across.local_names import LocalNames, refuse_other_case
from pipeline.connectors.postgres.ddl.across.widening import ForeignKeyColumns, has_types, widen_columns
from pipeline.connectors.postgres.ddl.create_table import name_of
from pipeline.connectors.postgres.ddl.ensure_table import ensure_table, existing_table, postgres_native
from pipeline.connectors.postgres.ddl.evolution.former_tables import former_partitions
from pipeline.connectors.postgres.ddl.evolution.types import commit_labels
from pipeline.connectors.postgres.ddl.target_table import table_oid
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger, lock_definitions
from pipeline.connectors.postgres.loading.tables.value_kinds import ValueKinds
from pipeline.connectors.postgres.loading.target import Target, target_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.event_file import Header
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema


@dataclass(frozen=True, slots=True)
class StreamTable:
    """How a stream is loaded. `kinds`: the values that its table cannot hold, if the table can be widened for them."""

    schema: StreamSchema
    target: Target
    kinds: ValueKinds | None


class StreamTables:
    """The tables of one Flow. Those of an SQLite database can be widened if the Flow created them."""

    def __init__(self) -> None:
        self._known: dict[StreamName, StreamTable] = {}
        self._fixed: defaultdict[StreamName, set[str]] = defaultdict(set)

    def ready(self, connection: Connection, ledger: ImportLedger, header: Header) -> StreamTable:
        """Return the stream's table, created and committed if it is missing: its files may be loaded concurrently."""
        schema = header.schema
        known = self._known.get(schema.stream)
        if known is not None and known.schema == schema:
            return known
        try:
            return self._made(connection, ledger, header)
        except psycopg.errors.UnsafeNewEnumValueUsage:
            commit_labels(connection, postgres_native(schema).get("types", ()))
            return self._made(connection, ledger, header)

    def _made(self, connection: Connection, ledger: ImportLedger, header: Header) -> StreamTable:
        schema = header.schema
        with connection.transaction():
            lock_definitions(connection)
            names = LocalNames(connection, ledger.streams, schema.stream)
            local = names.localized(schema)
            refuse_other_case(connection, schema, ledger.streams)
            if ledger.has_later_schema(schema.stream, header.export_time):
                table = existing_table(connection, local)  # it has followed the source further than this file
            else:
                before = ledger.previous_schema(schema.stream)
                is_created = table_oid(connection, *name_of(postgres_native(local))) is None
                former = before and names.localized(before)
                table, is_ours = ensure_table(connection, local, ledger, former)
                ledger.remember_schema(schema, as_of=header.export_time, is_ours=is_ours, is_created=is_created)
                gone = [] if former is None else former_partitions(connection, former, local)
                if gone and schema.stream in ledger.created():
                    known_gone = ledger.former_partitions().get(schema.stream, ())
                    ledger.remember_former_partitions(schema.stream, [*known_gone, *gone])
        widens = "sqlite" in schema.native and schema.stream in ledger.created()
        target = target_of(table, local, schema, is_widened=widens)
        fixed = self._fixed[schema.stream]
        found = StreamTable(schema, target, ValueKinds(schema, target, fixed) if widens else None)
        self._known[schema.stream] = found
        return found

    def is_current(self, connection: Connection, stream: StreamTable) -> bool:
        """Whether nobody has widened the table meanwhile; nobody does until the end of the connection's transaction."""
        if stream.kinds is None or has_types(connection, stream.target.table):
            return True
        self.forget(stream.schema.stream)
        return False

    def forget(self, stream: StreamName) -> None:
        """Look at the table again when it is next needed."""
        self._known.pop(stream, None)

    def for_retry(self, connection: Connection, ledger: ImportLedger, schema: StreamSchema) -> Target:
        """Return how rejected records of a stream are loaded, in the connection's transaction."""
        local = LocalNames(connection, ledger.streams, schema.stream).localized(schema)
        is_widened = schema.stream in ledger.created()
        before = local if schema.stream in ledger.ours() else None  # so that a stand-in for a partition stays one
        return target_of(ensure_table(connection, local, ledger, before)[0], local, schema, is_widened=is_widened)

    def widen(
        self,
        connection: Connection,
        ledger: ImportLedger,
        schema: StreamSchema,
        found: Mapping[str, frozenset[str]],
    ) -> None:
        """Widen columns of a stream's table for the kinds of values that were found in records.

        Values that a column cannot be widened for are rejected from then on.
        """
        self.forget(schema.stream)
        with connection.transaction():
            lock_definitions(connection)
            local = LocalNames(connection, ledger.streams, schema.stream).localized(schema)
            there = dict(zip(local.column_names, schema.column_names, strict=True))
            kinds = {name: found[there[name]] for name in there if there[name] in found}
            cannot = widen_columns(connection, local, schema.stream, kinds, partial(_foreign_keys, connection, ledger))
            self._fixed[schema.stream].update(there[name] for name in cannot)


def _foreign_keys(connection: Connection, ledger: ImportLedger) -> Set[ForeignKeyColumns]:
    """Return the foreign keys of the tables that the Flow has created for streams of SQLite."""
    names, created = LocalNames(connection, ledger.streams), ledger.created()
    schemas = [it for it in ledger.schemas() if it.stream in created and "sqlite" in it.native]
    return {
        (schema.stream, key.columns, key.references)
        for schema in map(names.localized, schemas)
        for key in constraints_of(schema).foreign_keys
    }
