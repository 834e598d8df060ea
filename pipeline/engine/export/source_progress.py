"""How many rows a source gives, and how it comes along if it reads rows before it gives them, as events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import anyio

from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.reporter import Reporter, RowsExpected, RowsFetched
from pipeline.ports.source import RowCount, RowCounter, Snapshot

COUNT_AFTER_SECONDS = 5.0
"""Rows are counted once the export of a stream has taken this long: before, no time left is shown."""


class SourceProgress:
    """A ReadProgress that reports. `labels` are the groups of the streams."""

    def __init__(self, reporter: Reporter, labels: Mapping[StreamName, Label]) -> None:
        self._reporter, self._labels = reporter, labels

    def expect(self, stream: StreamName, rows: int) -> None:
        self._reporter.report(RowsExpected(self._labels[stream], stream, rows))

    def read(self, stream: StreamName, rows: int) -> None:
        self._reporter.report(RowsFetched(self._labels[stream], rows))


@asynccontextmanager
async def counting_rows(
    snapshot: Snapshot, schema: StreamSchema, state: SnapshotState, reporter: Reporter
) -> AsyncIterator[None]:
    """While the context is open, count the rows of a stream whose source can be counted, and report them.

    If the Flow has moved the stream before, it is expected to have as many rows as then.
    """
    if not isinstance(snapshot, RowCounter) or not snapshot.can_count(schema.stream):
        yield
        return
    with unwrap_exception_group():
        async with anyio.create_task_group() as beside:
            beside.start_soon(_count, snapshot, schema, state, reporter, name=f"count {schema.stream}")
            yield
            beside.cancel_scope.cancel()


async def _count(counter: RowCounter, schema: StreamSchema, state: SnapshotState, reporter: Reporter) -> None:
    await anyio.sleep(COUNT_AFTER_SECONDS)
    with suppress(PipelineError):  # the export meets it, too, and says what is wrong
        if state.complete:
            found = RowCount(sum([part.rows async for part in state.ranges()]))
        else:
            found = await counter.count_stream(schema.stream)
        reporter.report(RowsExpected(schema.label, schema.stream, found.rows, found.content_bytes))
