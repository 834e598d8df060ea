"""The rows that a destination has before a Flow's first load of a stream: nobody asked to overwrite them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

import anyio

from pipeline.domain.errors import RefusedError, TransientError, UnreadableError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Flow
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.retries import retry
from pipeline.log_events import log
from pipeline.ports.destination import DestinationSession, LoadHistory
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import Snapshot, Source, has_rows

T = TypeVar("T")

LOOK_TRIES, FIRST_RETRY_SECONDS = 5, 0.2
_OTHERS = "The destination has records that this Flow did not put there, and the source has others with the same keys."


class ExistingRows:
    """Compares the rows that the destination, read as the Source `copy`, has before the first load with the source's."""

    def __init__(self, flows: FlowStore, flow: FlowName, copy: Source) -> None:
        self._flows, self._flow, self._copy = flows, flow, copy

    async def ensure_kept(
        self, snapshot: Snapshot, schemas: Sequence[StreamSchema], session: DestinationSession
    ) -> None:
        """Name the rows that are there. RefusedError when the load would overwrite one with other values.

        A table that a Flow of this name has loaded before is not looked at, nor is any in a Movement that goes on.
        """
        loaded = await _loaded(session, self._flow)
        new = [schema for schema in schemas if schema.stream not in loaded and schema.stream not in SPECIAL_STREAMS]
        if not new or await self._is_under_way():
            return
        # Most Movements load no new stream.
        from pipeline.engine.verify.existing_stream import compare_existing
        from pipeline.engine.verify.scope import counterpart

        async with self._copy.open_snapshot() as copy:
            there = await copy.streams()
            compared = [
                await compare_existing(schema, snapshot, copy, there)
                for schema in new
                if (found := counterpart(schema.stream, there)) is None or found.stream not in loaded
            ]
        existing = [one for one in compared if one is not None]
        for one in existing:
            one.log()
        if overwritten := [str(one) for one in existing if one.overwritten]:
            raise RefusedError(
                f"{_OTHERS} Nothing was moved. {'; '.join(overwritten)}. Overwrite them with --overwrite, or leave these "
                "streams out with --exclude."
            )

    async def _is_under_way(self) -> bool:
        if not await self._flows.exists(self._flow):
            return False
        latest = await self._flows.latest(await self._flows.read_flow(self._flow))
        return latest is not None and not latest.settled


class StoredGuard:
    """Compares the rows that the destination, read as the Source `copy`, has before the first load with what is stored.

    It is for a process that does not reach the source. The destination is looked at once, before the first load.
    """

    def __init__(self, store: ObjectStore, flow: Flow, session: DestinationSession, copy: Source) -> None:
        self._store, self._flow, self._session, self._copy = store, flow, session, copy
        self._looking = anyio.Lock()
        self._occupied: list[StreamSchema] | None = None
        self._loaded: Collection[StreamName] = ()
        self._refusals: dict[StreamName, str] = {}

    async def is_clear(self, stream: StreamName) -> bool:
        """Return whether the destination has no row of the stream, or a Flow of this name has loaded it before."""
        if stream in SPECIAL_STREAMS:
            return True
        async with self._looking:
            if self._occupied is None:
                self._occupied = await _patiently(self._find_occupied)
        from pipeline.engine.verify.scope import counterpart

        return stream in self._loaded or counterpart(stream, self._occupied) is None

    async def refusal(self, stream: StreamName, files: Sequence[FileEntry]) -> str:
        """Return why these files must not be loaded: rows would be overwritten with other values, or deleted."""
        async with self._looking:
            if stream not in self._refusals:
                self._refusals[stream] = await _patiently(partial(self._compare, stream, files))
        return self._refusals[stream]

    async def _find_occupied(self) -> list[StreamSchema]:
        self._loaded = await _loaded(self._session, self._flow.name)
        async with self._copy.open_snapshot() as copy:
            return [
                one
                for one in await copy.streams()
                if one.stream not in self._loaded and await _may_have_rows(copy, one)
            ]

    async def _compare(self, stream: StreamName, files: Sequence[FileEntry]) -> str:
        from pipeline.engine.verify.existing_stream import compare_stored

        async with self._copy.open_snapshot() as copy:
            existing = await compare_stored(self._store, files, copy, self._occupied or ())
        existing.log()
        if not existing.overwritten:
            return ""
        verb = "start" if self._flow.origin is None else "flow import"
        return (
            f"{_OTHERS} Nothing of this stream was loaded. {existing}. Overwrite them with "
            f"`pipeline {verb} {self._flow.name} --overwrite`."
        )


async def _may_have_rows(copy: Snapshot, schema: StreamSchema) -> bool:
    try:
        return await has_rows(copy, schema)
    except UnreadableError:  # the comparison will say why
        return True


async def _loaded(session: DestinationSession, flow: FlowName) -> Collection[StreamName]:
    if isinstance(session, LoadHistory):
        return await session.loaded_streams(flow)
    return {file.stream for file in await session.marks()}


async def _patiently(look: Callable[[], Awaitable[T]]) -> T:
    """Return what `look` returns. It may find the destination locked: others load into it."""
    return await retry(look, on=TransientError, note=_log_retry, first_seconds=FIRST_RETRY_SECONDS, tries=LOOK_TRIES)


def _log_retry(error: BaseException | None, pause_seconds: float) -> None:
    log.warning("existing_rows_look_retried", reason=str(error), pause_seconds=pause_seconds)
