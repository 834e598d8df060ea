"""Several connectors as one: an app's database and the directory of its files, moved in one Movement.

What does not hold: the parts are not one state. Each part's snapshot is as consistent as its technology makes it, and
they are opened one right after the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from pipeline.connectors.locations import join_urls
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import (
    Destination,
    DestinationSession,
    FileToLoad,
    GaveWay,
    LoadOutcome,
    Mark,
    MarksReader,
    Rejection,
    Violation,
)
from pipeline.ports.ranged_source import Known, UnchangedRows, open_rows_along
from pipeline.ports.source import RowBlock, Snapshot, Source


class CombinedSource:
    """Several sources seen as one. The names of their streams must differ."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = tuple(parts)

    @property
    def location(self) -> str:
        """The locations of the parts, in their order."""
        return join_urls(part.location for part in self._parts)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[CombinedSnapshot]:
        """Open all parts, in order."""
        async with AsyncExitStack() as stack:
            opened = [(part.location, await stack.enter_async_context(part.open_snapshot())) for part in self._parts]
            yield CombinedSnapshot(opened)


class CombinedSnapshot:
    """The open parts with their locations, as one Snapshot."""

    def __init__(self, parts: Sequence[tuple[str, Snapshot]]) -> None:
        self._parts = parts
        self._owners: dict[StreamName, tuple[str, Snapshot]] = {}

    async def streams(self) -> Sequence[StreamSchema]:
        """The streams of all parts, ordered by name. ConfigurationError when two parts have one of the same name."""
        schemas: list[StreamSchema] = []
        owners: dict[StreamName, tuple[str, Snapshot]] = {}
        for location, part in self._parts:
            for schema in await part.streams():
                if schema.stream in owners:
                    raise ConfigurationError(
                        f"both {owners[schema.stream][0]} and {location} have a stream named {schema.stream!r}: "
                        "move them in separate Flows"
                    )
                owners[schema.stream] = (location, part)
                schemas.append(schema)
        self._owners = owners
        return sorted(schemas, key=lambda schema: schema.stream)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        """Open the rows of a stream at the part that has it."""
        async with (await self._owner(schema.stream)).open_rows(schema) as blocks:
            yield blocks

    @asynccontextmanager
    async def open_rows_along(
        self, schema: StreamSchema, known: Known
    ) -> AsyncIterator[AsyncIterable[RowBlock | UnchangedRows]]:
        """Open the rows of a stream along the known ranges, if its part can do so."""
        async with open_rows_along(await self._owner(schema.stream), schema, known) as blocks:
            yield blocks

    async def _owner(self, stream: StreamName) -> Snapshot:
        if stream not in self._owners:
            await self.streams()
        if stream not in self._owners:
            raise DefectError(f"a combined source was asked for the stream {stream!r}, which no part has")
        return self._owners[stream][1]


class CombinedDestination:
    """Several destinations as one: a stream named in `routes` goes there, every other one to `first`."""

    def __init__(self, first: Destination, routes: Mapping[StreamName, Destination]) -> None:
        self._first = first
        self._routes = dict(routes)

    @property
    def location(self) -> str:
        """The locations of the parts: `first`, then the others in the order of the routes."""
        return join_urls(part.location for part in self._distinct())

    def _distinct(self) -> list[Destination]:
        """Each part once, however many streams are routed to it."""
        parts = {id(part): part for part in (self._first, *self._routes.values())}
        return list(parts.values())

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of all parts, each part's of the streams that are routed to it."""
        marks: dict[EventFileId, Mark] = {}
        for part in self._distinct():
            if not isinstance(part, MarksReader):
                raise ConfigurationError(f"{part.location}: this connector cannot read marks without writing")
            found = await part.read_marks(flow, wait_seconds=wait_seconds)
            marks |= {file: mark for file, mark in found.items() if self._routes.get(file.stream, self._first) is part}
        return marks

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[CombinedSession]:
        """Open all parts for the Flow."""
        async with AsyncExitStack() as stack:
            sessions = {id(part): await stack.enter_async_context(part.open(flow)) for part in self._distinct()}
            routes = {stream: sessions[id(part)] for stream, part in self._routes.items()}
            yield CombinedSession(sessions[id(self._first)], routes, tuple(sessions.values()))


class CombinedSession:
    """The open parts as one DestinationSession."""

    def __init__(
        self,
        first: DestinationSession,
        routes: Mapping[StreamName, DestinationSession],
        sessions: Sequence[DestinationSession],
    ) -> None:
        self._first = first
        self._routes = routes
        self._sessions = sessions

    def _session(self, stream: StreamName) -> DestinationSession:
        return self._routes.get(stream, self._first)

    async def marks(self) -> Mapping[EventFileId, Mark]:
        """The marks of all parts. A part's marks of streams that are not routed to it do not count."""
        return {
            file: mark
            for session in self._sessions
            for file, mark in (await session.marks()).items()
            if self._session(file.stream) is session
        }

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Load the file at the part its stream is routed to.

        That part checks, in one step with its mark, those of `after` that are its own. A mark is never taken back, so
        looking for the others beforehand is as good.
        """
        session = self._session(file.entry.id.stream)
        foreign = [before for before in after if self._session(before.stream) is not session]
        if foreign:
            marks = await self.marks()
            missing = next((before for before in foreign if before not in marks), None)
            if missing is not None:
                return GaveWay(f"{missing}, which comes before {file.entry.id}, is not marked")
        own = [before for before in after if self._session(before.stream) is session]
        return await session.load(file, after=own)

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Try again at every part."""
        return [rejection for session in self._sessions for rejection in await session.retry_rejected()]

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        """Finish, at each part, the streams that are routed to it."""
        violations: list[Violation] = []
        for session in self._sessions:
            own = [stream for stream in streams if self._session(stream) is session]
            if own:
                violations.extend(await session.finish(own))
        return violations
