"""An Exporter as a Source."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import FlowName
from pipeline.domain.schema import StreamSchema
from pipeline.kit.calls import open_client
from pipeline.kit.exporter import Exporter
from pipeline.kit.reading.changes import ChangedRows
from pipeline.kit.reading.ordered import ordered_blocks
from pipeline.kit.reading.spool import Spool
from pipeline.kit.reading.unordered import UnorderedRows
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import RowBlock


class ExporterSource:
    """The app that an Exporter reads, with the author's `settings`, as a Source."""

    def __init__(self, location: str, exporter: Exporter, settings: object | None) -> None:
        self.location = location
        self._exporter = exporter
        self._settings = settings

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[ExporterSnapshot]:
        """Open the app. ConfigurationError when the Exporter has no stream."""
        if not self._exporter.streams:
            raise ConfigurationError(f"{self._exporter.line}: the Exporter {self._exporter.name!r} has no stream.")
        async with open_client(self._exporter.connection, self._settings, self.location) as client:
            yield ExporterSnapshot(self._exporter, client)


class ExporterSnapshot:
    """The open app: a Snapshot, and a ResumableSnapshot, since pages are kept while their Movement is exported."""

    def __init__(self, exporter: Exporter, client: Any) -> None:
        self._exporter = exporter
        self._client = client
        self._scope: tuple[ObjectStore, FlowName, int] | None = None

    async def streams(self) -> Sequence[StreamSchema]:
        return [stream.schema for _, stream in sorted(self._exporter.streams.items())]

    async def begin_movement(self, store: ObjectStore, flow: FlowName, movement: int) -> None:
        self._scope = store, flow, movement

    async def end_movement(self) -> None:
        for declared in self._exporter.streams.values():
            spool = None if declared.name in self._exporter.feeds else self._spool(declared.schema)
            if spool is not None and self._scope is not None:
                await spool.forget(but=self._scope[2] if declared.shifting else None)

    def _spool(self, schema: StreamSchema) -> Spool | None:
        if self._scope is None:
            return None
        store, flow, _ = self._scope
        return Spool(store, flow, schema.stream, schema.primary_keys)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        declared = self._exporter.streams.get(schema.stream)
        if declared is None:
            raise DefectError(f"the Exporter was asked for the stream {schema.stream!r}, which it does not have")
        feed = self._exporter.feeds.get(schema.stream)
        if declared.ordered and feed is None:
            async with ordered_blocks(declared, self._client) as blocks:
                yield blocks
            return
        movement = self._scope[2] if self._scope else 0
        fetch = self._exporter.fetches.get(schema.stream)
        spool, client = self._spool(schema), self._client
        with (
            UnorderedRows(declared, client, fetch, spool, movement)
            if feed is None
            else ChangedRows(declared, feed, client, spool, movement)
        ) as rows:
            await rows.read()
            async with rows.blocks() as blocks:
                yield blocks
