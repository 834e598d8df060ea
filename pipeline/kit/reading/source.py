"""An Exporter as a Source."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pipeline.domain.errors import ConfigurationError, DefectError, PipelineError
from pipeline.domain.flows.findings import CheckFinding
from pipeline.domain.ids import ObjectKey, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import call, find_all, open_client
from pipeline.kit.declared import DeclaredStream, Function
from pipeline.kit.exporter import Exporter, check_feeds
from pipeline.kit.reading.contents.stream_contents import StreamContents
from pipeline.kit.reading.contents.versions import ContentVersions
from pipeline.kit.reading.encoding import RowEncoder
from pipeline.kit.reading.feeds.changed_rows import ChangedRows
from pipeline.kit.reading.list_count import ListCount
from pipeline.kit.reading.ordered import ordered_blocks
from pipeline.kit.reading.spool import Spool
from pipeline.kit.reading.unordered import UnorderedRows, fetched
from pipeline.log_events import log
from pipeline.ports.source import MovementScope, RowBlock

LIST = "list"
"""The kind of a list of which the app says that it has more rows than it gave."""


class ExporterSource:
    """The app that an Exporter reads, with the author's `settings`, as a Source."""

    def __init__(
        self, location: str, exporter: Exporter, settings: object | None, accepted: Container[str] = ()
    ) -> None:
        self.location = location
        self._exporter = exporter
        self._settings = settings
        self._accepted = accepted

    def accepting(self, ids: Container[str]) -> ExporterSource:
        """Return the same source; what its checks of these ids find does not keep it from being opened."""
        return ExporterSource(self.location, self._exporter, self._settings, ids)

    @property
    def check_titles(self) -> Mapping[str, str]:
        """The titles of the author's checks, by id."""
        return {check.id: check.title for check in self._exporter.connection.checks.values()}

    async def app_findings(self) -> Sequence[CheckFinding]:
        """Open the app, and return what its checks find."""
        return await find_all(self._exporter.connection, self._settings, self.location)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[ExporterSnapshot]:
        """Open the app. ConfigurationError when the Exporter has no stream."""
        if not self._exporter.streams:
            raise ConfigurationError(f"{self._exporter.line}: the Exporter {self._exporter.name!r} has no stream.")
        check_feeds(self._exporter)
        async with open_client(self._exporter.connection, self._settings, self.location, self._accepted) as client:
            snapshot = ExporterSnapshot(self._exporter, client)
            try:
                yield snapshot
            finally:
                snapshot.close()


class ExporterSnapshot:
    """The open app: a Snapshot, and a ResumableSnapshot, since pages are kept while their Movement is exported."""

    def __init__(self, exporter: Exporter, client: Any) -> None:
        self._exporter = exporter
        self._client = client
        self._scope: MovementScope | None = None
        self._contents: dict[StreamName, StreamContents] = {}
        self._lists: dict[StreamName, ListCount] = {}
        self._replaced: dict[StreamName, Sequence[ObjectKey]] = {}

    def close(self) -> None:
        """Remove temporary files."""
        for contents in self._contents.values():
            contents.close()

    def scopes(self) -> Mapping[StreamName, Sequence[str]]:
        return {name: stream.scopes for name, stream in self._exporter.streams.items()}

    def contract(self) -> str:
        return self._exporter.contract or ""

    async def streams(self) -> Sequence[StreamSchema]:
        return [stream.schema for _, stream in sorted(self._exporter.streams.items())]

    async def begin_movement(self, scope: MovementScope) -> None:
        self._scope = scope
        for stream, estimate in self._exporter.estimates.items():
            await self._estimate(stream, estimate, scope)

    async def _estimate(self, stream: StreamName, estimate: Function, scope: MovementScope) -> None:
        """Ask the app how many rows there are. Without an answer the Movement has no percent of the stream."""
        what = f"the estimate of {stream!r}"
        try:
            rows = await call(estimate, self._client, what=what, tries=1)
        except PipelineError as error:
            log.warning("estimate_failed", stream=stream, reason=str(error))
            return
        if type(rows) is not int or not 0 <= rows < 2**63:
            raise ConfigurationError(f"{line_of(estimate)}: {what} is {rows!r}. Return a number of rows.")
        scope.progress.expect(stream, rows)

    async def omissions(self) -> Sequence[InventoryItem]:
        lists = sorted(self._lists.items())
        return [InventoryItem(LIST, stream, Fate.NOT_MOVED, str(one)) for stream, one in lists if not one.is_whole]

    def is_whole(self, stream: StreamName) -> bool:
        if stream not in self._exporter.streams:
            return False  # nobody has asked the app for it: its author, not the app, has removed it
        return stream not in self._lists or self._lists[stream].is_whole

    async def end_movement(self) -> None:
        for declared in self._exporter.streams.values():
            spool = self._spool(declared.schema)
            if spool is None or self._scope is None:
                continue
            if declared.name in self._exporter.feeds:
                await spool.delete(self._replaced.get(declared.name, ()))
            elif declared.shifting:
                await spool.forget_before(self._scope.movement)
            else:
                await spool.forget()
        for contents in self._contents.values():
            await contents.end()

    async def fetch_rows(self, schema: StreamSchema, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        declared, fetch = self._exporter.streams[schema.stream], self._exporter.fetches.get(schema.stream)
        has_contents = any(column.type == "binary" for column in declared.row.columns)
        if fetch is None or not declared.shifting or has_contents:
            return {}
        encoder = RowEncoder(declared)
        rows = encoder.encode(encoder.values(await fetched(declared, self._client, fetch, keys)))
        return {row.key: row.line for row in rows}

    def _spool(self, schema: StreamSchema) -> Spool | None:
        scope = self._scope
        return None if scope is None else Spool(scope.store, scope.flow, schema)

    async def _open_contents(self, declared: DeclaredStream) -> StreamContents | None:
        """Return what reads the contents of a stream; None where it has no Binary field."""
        if all(column.type != "binary" for column in declared.row.columns):
            return None
        if (scope := self._scope) is None:
            return StreamContents(declared)
        if declared.name not in self._contents:
            versions = ContentVersions(scope.store, scope.flow, declared.name, scope.movement)
            self._contents[declared.name] = StreamContents(declared, scope.contents, versions)
            await versions.load()
        return self._contents[declared.name]

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        declared = self._exporter.streams.get(schema.stream)
        if declared is None:
            raise DefectError(f"the Exporter was asked for the stream {schema.stream!r}, which it does not have")
        feed, contents = self._exporter.feeds.get(schema.stream), await self._open_contents(declared)
        if declared.comes_in_order and feed is None:
            async with ordered_blocks(declared, self._client, contents) as blocks:
                yield blocks
            return
        movement = self._scope.movement if self._scope else 0
        fetch = self._exporter.fetches.get(schema.stream)
        spool, client, progress = self._spool(schema), self._client, self._scope.progress if self._scope else None
        with (
            UnorderedRows(declared, client, fetch, contents, spool, movement, progress)
            if feed is None
            else ChangedRows(declared, feed, client, fetch, contents, spool, movement, progress)
        ) as rows:
            await rows.read()
            self._lists[schema.stream], self._replaced[schema.stream] = rows.list, rows.replaced
            async with rows.blocks() as blocks:
                yield blocks
