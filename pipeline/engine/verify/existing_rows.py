"""The rows that a destination has before a Flow's first load of a stream: nobody asked to overwrite them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.codec.values import key_text
from pipeline.domain.comparison.report import Difference, Finding, StreamReport
from pipeline.domain.comparison.values import pair_columns, why_not_comparable
from pipeline.domain.errors import RefusedError, UnreadableError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.verify.scope import counterpart
from pipeline.engine.verify.stream_comparison import DifferenceSink, StreamComparison
from pipeline.engine.verify.verifier import aligned
from pipeline.log_events import log
from pipeline.ports.destination import DestinationSession, LoadHistory
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import Snapshot, Source, has_rows

KEYS_NAMED = 3
_CONTENT = frozenset({"kind", "digest", "target"})
"""The columns of an entry of a tree that are its content. Permissions and times may differ."""


@dataclass(slots=True)
class ExistingStream:
    """The rows of one stream at the destination, and those that the source has with the same key and other values."""

    stream: StreamName
    report: StreamReport
    overwritten: int = 0
    keys: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows the destination has."""
        return self.report.destination.rows

    def __str__(self) -> str:
        more = ", …" if self.overwritten > len(self.keys) else ""
        return f"{self.stream}: {self.overwritten:,} of {self.rows:,} ({', '.join(self.keys)}{more})"


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


async def compare_existing(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    """Compare one stream; None when the destination has no row of it. One that cannot be read is `incomparable`."""
    try:
        with unwrap_exception_group():
            return await _compare(schema, snapshot, copy, there)
    except UnreadableError as error:
        return ExistingStream(schema.stream, StreamReport(schema.stream, incomparable=str(error)))


async def _compare(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    found = counterpart(schema.stream, there)
    if found is None or not await has_rows(copy, found):
        return None
    pairing = pair_columns(schema, found)
    existing = ExistingStream(schema.stream, StreamReport(schema.stream))
    if reason := why_not_comparable(schema, found, pairing):
        existing.report = StreamReport(schema.stream, incomparable=reason)
        return existing
    is_tree = not schema.native and _CONTENT.issubset(schema.column_names)

    def note(difference: Difference) -> None:
        columns = set(difference.columns).difference(pairing.missing)
        if is_tree:
            columns &= _CONTENT
        if difference.finding is Finding.DIFFERENT and (columns or not difference.columns):
            existing.overwritten += 1
            if len(existing.keys) < KEYS_NAMED:
                existing.keys.append(key_text(difference.key))

    copied = partial(open_rows_along, copy, aligned(schema, found, pairing))
    comparison = StreamComparison(existing.report, pairing, DifferenceSink(0, {}, note))
    existing.report = await comparison.run(snapshot.open_rows(schema), copied)
    return existing
