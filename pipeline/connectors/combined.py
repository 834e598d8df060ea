"""Several places as one: an app's database and the directory of its files, moved in one Movement.

The parts do not have one common state: their snapshots are opened one after the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager

from pipeline.connectors.locations import join_urls
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import (
    Choose,
    Destination,
    DestinationSession,
    Fencing,
    FileToLoad,
    GaveWay,
    KeptRecord,
    LoadHistory,
    LoadOutcome,
    Mark,
    MarksReader,
    RejectedKeeper,
    Rejection,
    SchemaKeeper,
    Violation,
    takes_arrays,
)
from pipeline.ports.ranged_source import Known, UnchangedRows, open_rows_along
from pipeline.ports.source import (
    DefinitionReader,
    OmissionReporter,
    ReferenceChecker,
    RowBlock,
    RowCount,
    RowCounter,
    RowEstimator,
    Snapshot,
    Source,
    UnreadRows,
)


class CombinedSource:
    """Several sources as one. The names of their streams must differ."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = tuple(parts)

    @property
    def location(self) -> str:
        """The URLs of the parts, in their order, as one name."""
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
        """Return the streams of all parts, by name. ConfigurationError when two parts have a stream of the same name."""
        schemas: list[StreamSchema] = []
        owners: dict[StreamName, tuple[str, Snapshot]] = {}
        for location, part in self._parts:
            for schema in await part.streams():
                if schema.stream in owners:
                    raise ConfigurationError(
                        f"{owners[schema.stream][0]} and {location} both have a stream named {schema.stream!r}; "
                        "move them in separate Flows"
                    )
                owners[schema.stream] = (location, part)
                schemas.append(schema)
        self._owners = owners
        return sorted(schemas, key=lambda schema: schema.stream)

    async def omissions(self) -> Sequence[InventoryItem]:
        """The omissions of all parts."""
        reporters = [part for _, part in self._parts if isinstance(part, OmissionReporter)]
        return [item for part in reporters for item in await part.omissions()]

    async def row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        """The estimates of all parts."""
        estimators = [part for _, part in self._parts if isinstance(part, RowEstimator)]
        return {name: rows for part in estimators for name, rows in (await part.row_estimates(streams)).items()}

    def can_count(self, stream: StreamName) -> bool:
        """Whether the part that has the stream can count it."""
        _, part = self._owners[stream]
        return isinstance(part, RowCounter) and part.can_count(stream)

    async def count_stream(self, stream: StreamName) -> RowCount:
        """Count the rows of a stream in the part that has it."""
        part = await self._owner(stream)
        assert isinstance(part, RowCounter)
        return await part.count_stream(stream)

    async def broken_references(self, streams: Sequence[StreamName]) -> Set[tuple[StreamName, tuple[str, ...]]]:
        """The broken foreign keys of all parts."""
        checkers = [part for _, part in self._parts if isinstance(part, ReferenceChecker)]
        return {key for part in checkers for key in await part.broken_references(streams)}

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        """The definitions of the streams of all parts."""
        readers = [part for _, part in self._parts if isinstance(part, DefinitionReader)]
        return {stream: found for part in readers for stream, found in (await part.definitions()).items()}

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock | UnreadRows]]:
        """Open the rows of a stream in the part that has it."""
        async with (await self._owner(schema.stream)).open_rows(schema) as blocks:
            yield blocks

    @asynccontextmanager
    async def open_rows_along(
        self, schema: StreamSchema, known: Known
    ) -> AsyncIterator[AsyncIterable[RowBlock | UnchangedRows | UnreadRows]]:
        """Open the rows of a stream along the known ranges, if its part can do so."""
        async with open_rows_along(await self._owner(schema.stream), schema, known) as blocks:
            yield blocks

    async def _owner(self, stream: StreamName) -> Snapshot:
        if stream not in self._owners:
            await self.streams()
        if stream not in self._owners:
            raise DefectError(f"no part of a combined source has the stream {stream!r}")
        return self._owners[stream][1]


class CombinedDestination:
    """Several destinations as one. `routes` maps streams to their destinations; all others belong to `first`."""

    def __init__(self, first: Destination, routes: Mapping[StreamName, Destination]) -> None:
        self._first = first
        self._routes = dict(routes)

    @property
    def location(self) -> str:
        """The URLs of the parts as one name: `first`, then the others in the order of the routes."""
        return join_urls(part.location for part in self._distinct())

    def _distinct(self) -> list[Destination]:
        parts = {id(part): part for part in (self._first, *self._routes.values())}
        return list(parts.values())

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of all parts: from each part those of the streams that are routed to it."""
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

    def takes_arrays(self, stream: StreamName) -> bool:
        """Return what the part says to which the stream is routed."""
        return takes_arrays(self._session(stream), stream)

    async def marks(self) -> Mapping[EventFileId, Mark]:
        """Return the marks of all parts: from each part those of the streams that are routed to it."""
        return {
            file: mark
            for session in self._sessions
            for file, mark in (await session.marks()).items()
            if self._session(file.stream) is session
        }

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Load the file into the part to which its stream is routed.

        That part checks its own files of `after` atomically with the mark. Marks are never removed, so the files of other
        parts can be checked before.
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

    async def fence(self, movement: int) -> None:
        """Fence every part that can be."""
        for session in self._sessions:
            if isinstance(session, Fencing):
                await session.fence(movement)

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Try again in every part."""
        return [rejection for session in self._sessions for rejection in await session.retry_rejected()]

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        """Try the chosen records again in every part that keeps them."""
        keepers = [session for session in self._sessions if isinstance(session, RejectedKeeper)]
        return [rejection for keeper in keepers for rejection in await keeper.retry_chosen(chosen)]

    async def rejected(self) -> Sequence[KeptRecord]:
        """Return the rejected records of every part."""
        keepers = [session for session in self._sessions if isinstance(session, RejectedKeeper)]
        return [record for keeper in keepers for record in await keeper.rejected()]

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        """Correct the records of each stream in the part that has it."""
        found = 0
        for session in self._sessions:
            own = [one for one in corrected if self._session(one.rejection.file.stream) is session]
            if own and isinstance(session, RejectedKeeper):
                found += await session.correct_rejected(own)
        return found

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        """Finish in each part the streams that are routed to it."""
        violations: list[Violation] = []
        for session in self._sessions:
            own = [stream for stream in streams if self._session(stream) is session]
            if own:
                violations.extend(await session.finish(own))
        return violations

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        """Return what Flows of this name have loaded into any part."""
        histories = [session for session in self._sessions if isinstance(session, LoadHistory)]
        return {stream for session in histories for stream in await session.loaded_streams(flow)}

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        """Ensure the schema objects at each part that keeps them."""
        keepers = [session for session in self._sessions if isinstance(session, SchemaKeeper)]
        return [item for keeper in keepers for item in await keeper.ensure_objects(rows_changed=rows_changed)]
