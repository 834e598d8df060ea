"""The end of a load: what is created last, what is checked, and tables that the source has no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from pipeline.connectors.postgres.ddl.across.local_names import LocalNames
from pipeline.connectors.postgres.ddl.constraints_out import lacking_constraints
from pipeline.connectors.postgres.ddl.create_table import name_of
from pipeline.connectors.postgres.ddl.ensure_table import created_tables, postgres_native, tables_of_ours
from pipeline.connectors.postgres.ddl.evolution.dependents import RELATIONS
from pipeline.connectors.postgres.ddl.evolution.former_tables import (
    KeptTable,
    drop_former_partitions,
    drop_former_tables,
    drop_replaced_tables,
    former_streams,
)
from pipeline.connectors.postgres.ddl.evolution.names import NameOwners
from pipeline.connectors.postgres.ddl.foreign_keys import broken_foreign_keys
from pipeline.connectors.postgres.ddl.post_load import finish_streams
from pipeline.connectors.postgres.ddl.target_table import table_oids
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.integrity.side_effects import read_side_effects
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.constraints import missing_constraints
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_FILLED_COLUMNS = """
SELECT t.name, array_agg(a.attname::text) FROM unnest(%s::text[]) AS t(name)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY 1
"""


def finish(
    connection: Connection, ledger: ImportLedger, streams: Sequence[StreamName], *, as_replica: bool
) -> Sequence[Violation]:
    """Complete the load of these streams, as the port has it. `as_replica`: foreign keys were not enforced while loading."""
    schemas = ledger.schemas()
    gone, kept = drop_former_tables(connection, ledger, schemas)
    ledger.forget_streams(sorted(gone))
    schemas = [schema for schema in schemas if schema.stream not in gone]
    for stream, oids in ledger.former_partitions().items():
        ledger.remember_former_partitions(stream, drop_former_partitions(connection, oids))
    former = former_streams(schemas, ledger.created())
    natives = list(map(postgres_native, schemas))
    owners = NameOwners(connection, natives, created_tables(ledger), partial(tables_of_ours, ledger))
    names = LocalNames(connection, lambda: {schema.stream for schema in schemas})
    tables = {names.localized(schema).stream: schema.stream for schema in schemas}
    wanted = {table for table, stream in tables.items() if stream in streams}
    with_ours = ledger.ours()
    ours = {table for table in wanted if tables[table] in with_ours}
    local = [names.localized(schema) for schema in sorted(schemas, key=lambda schema: schema.stream)]
    lasting = [schema for schema in local if schema.stream not in former]
    found = finish_streams(connection, lasting, wanted - former.keys(), ours, owners)
    touched = [schema for schema in local if schema.stream in wanted]
    if as_replica:
        described = {name_of(native): native for native in map(postgres_native, local)}
        places = {name_of(postgres_native(schema)): schema.stream for schema in local}
        found += broken_foreign_keys(connection, {name_of(postgres_native(it)) for it in touched}, places, described)
    found += (_surplus(it) for it in kept if it.reason is None and it.stream in wanted)
    found += _active_side_effects(connection, touched, as_replica=as_replica)
    return [replace(it, stream=tables.get(it.stream, it.stream)) for it in found]


def _surplus(kept: KeptTable) -> Violation:
    return Violation(
        kept.stream,
        f"the source has renamed this table, and {kept.successor} has its rows now. Those that are left in {kept.table} "
        "are not the source's: delete them, or drop the table, and move again",
    )


def _active_side_effects(
    connection: Connection, schemas: Sequence[StreamSchema], *, as_replica: bool
) -> Iterator[Violation]:
    streams = {name_of(postgres_native(schema)): schema.stream for schema in schemas}
    oids = table_oids(connection, streams)
    effects = read_side_effects(connection, oids.values(), as_replica=as_replica)
    for name, oid in oids.items():
        yield from (Violation(streams[name], text) for text in effects[oid].violations())


def replace_tables(
    connection: Connection, ledger: ImportLedger, schemas: Sequence[StreamSchema], wanted: Sequence[SchemaObject]
) -> None:
    """Drop tables whose names the source has for views, sequences or types now, as far as they are the Flow's, and empty."""
    names = [one.name for one in wanted if one.kind in RELATIONS]
    ledger.forget_streams(sorted(drop_replaced_tables(connection, ledger, schemas, names)))


def missing_definitions(
    connection: Connection, names: LocalNames, schemas: Sequence[StreamSchema]
) -> Iterator[InventoryItem]:
    """Give what tables of the destination lack of what streams of other technologies have beside rows."""
    foreign = [schema for schema in schemas if "postgresql" not in schema.native]
    for schema in foreign:
        yield from names.missing_definitions(schema)
    streams = {names.table(schema.stream): schema.stream for schema in foreign}
    for table, one in lacking_constraints(connection, list(map(names.localized, foreign))):
        yield from missing_constraints(streams[table], [one])


def unfilled_columns(connection: Connection, names: LocalNames, schemas: Sequence[StreamSchema]) -> list[InventoryItem]:
    """Return the columns of streams that tables of the destination lack, or compute themselves: their values are not moved."""
    local = {schema.stream: names.localized(schema) for schema in schemas}
    tables = {stream: qualified(*name_of(postgres_native(schema))) for stream, schema in local.items()}
    present: dict[str, list[str]] = dict(connection.execute(_FILLED_COLUMNS, (list(tables.values()),)).fetchall())
    found = []
    for stream, schema in local.items():
        row_key = postgres_native(schema).get("row_key") or {}
        filled = {*present.get(tables[stream], schema.column_names), *schema.primary_keys, *row_key.values()}
        found += [f"{stream}.{name}" for name in schema.column_names if name not in filled]
    reason = "the destination's table does not have it, or computes it itself"
    return [InventoryItem("column", name, Fate.NOT_MOVED, reason) for name in found]


def kept_tables(connection: Connection, ledger: ImportLedger, schemas: Sequence[StreamSchema]) -> list[InventoryItem]:
    """Drop former tables on which nothing depends any more, and return those that must stay.

    `schemas` are the latest of each stream, in the order of their export.
    """
    gone, kept = drop_former_tables(connection, ledger, schemas)
    ledger.forget_streams(sorted(gone))
    return [
        InventoryItem(
            "former table",
            it.table,
            Fate.NOT_MOVED,
            f"the source has renamed it, and {it.successor} has its rows now. The empty table stays, because the destination "
            f"has something of its own that needs it ({it.reason}): drop that, and move again",
        )
        for it in kept
        if it.reason is not None
    ]
