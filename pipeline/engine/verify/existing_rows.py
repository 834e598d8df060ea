"""The rows that a destination has before a Flow's first load of a stream: nobody asked to overwrite them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.errors import RefusedError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.log_events import log
from pipeline.ports.destination import DestinationSession, LoadHistory
from pipeline.ports.source import Snapshot, Source


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
        loaded = await self._loaded(session)
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
            log.warning(
                "existing_rows_found",
                stream=one.stream,
                rows=one.rows,
                not_at_source=one.report.extra,
                reason=one.report.incomparable,
            )
        if overwritten := [str(one) for one in existing if one.overwritten]:
            raise RefusedError(
                "The destination has records that this Flow did not put there, and the source has others with the same "
                f"keys. Nothing was moved. {'; '.join(overwritten)}. Overwrite them with --overwrite, or leave these "
                "streams out with --exclude."
            )

    async def _loaded(self, session: DestinationSession) -> set[StreamName]:
        if isinstance(session, LoadHistory):
            return set(await session.loaded_streams(self._flow))
        return {file.stream for file in await session.marks()}

    async def _is_under_way(self) -> bool:
        if not await self._flows.exists(self._flow):
            return False
        latest = await self._flows.latest(await self._flows.read_flow(self._flow))
        return latest is not None and not latest.settled
