"""PostgreSQL fulfils the contract of a destination."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from pipeline.connectors.postgres.loading.destination import PostgresDestination
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from tests.connectors.postgres.places import Place, place_factory
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.servers.postgresql import PostgresqlServer

NOTE = {"name": "note", "type": "text", "not_null": False, "default": None, "identity": "", "generated": None}
NATIVE: dict[str, Any] = {
    "version": 1,
    "schema": "My shop",
    "table": 'item "1"',
    "columns": [
        {"name": "id", "type": "bigint", "not_null": True, "default": None, "identity": "ALWAYS", "generated": None},
        {"name": "version", "type": "integer", "not_null": True, "default": "1", "identity": "", "generated": None},
    ],
    "key": {"name": "item_pkey", "columns": ["id"], "kind": "primary"},
    "row_key": None,
    "constraints": [{"name": "item_pkey", "kind": "primary", "definition": "PRIMARY KEY (id)"}],
    "schemas": ["My shop"],
}


def destination_world(place: Place, impossible: str, *, described: bool) -> DestinationWorld:
    """An empty database; its table is created from a PostgreSQL source's description, or from the stream's columns."""
    table = '"My shop"."item ""1"""' if described else "public.item"
    columns = (Column("id", "integer", nullable=False), Column("version", "integer", nullable=False))
    stream = StreamName('My shop."item ""1"""' if described else "item")

    def held() -> dict[int, int]:
        if place.rows("SELECT to_regclass(%s)", [table]) == [(None,)]:
            return {}
        rows = place.rows(f"SELECT id, coalesce(version, 0) FROM {table}")
        return {int(str(n)): int(str(version)) for n, version in rows}

    schema = StreamSchema(stream, Label("item"), columns, ("id",), {"postgresql": NATIVE} if described else {})
    wider = {"postgresql": NATIVE | {"columns": [*NATIVE["columns"], NOTE]}} if described else {}
    return DestinationWorld(
        destination=PostgresDestination(place.uri),
        impossible=PostgresDestination(impossible),
        schema=schema,
        upsert=lambda n, version: orjson.dumps({"upsert": {"id": n, "version": version}}) + b"\n",
        delete=lambda n: orjson.dumps({"delete": {"id": n}}) + b"\n",
        held=held,
        refused=b'{"upsert":{"id":99,"version":null}}\n',
        is_transactional=True,
        accept=lambda: place.run(f"ALTER TABLE {table} ALTER version DROP NOT NULL"),
        wider=replace(schema, columns=(*columns, Column("note", "text")), native=wider),
    )


@pytest.fixture(scope="module")
def place(postgresql: PostgresqlServer) -> Place:
    return place_factory(postgresql)()


class TestPostgresDestination(DestinationContract):
    @pytest.fixture(params=["as a source describes it", "from columns"])
    def world(self, place: Place, postgresql: PostgresqlServer, request: pytest.FixtureRequest) -> DestinationWorld:
        place.run('DROP SCHEMA IF EXISTS _pipeline, "My shop" CASCADE; DROP TABLE IF EXISTS public.item')
        return destination_world(place, postgresql.uri("missing"), described="source" in request.param)
