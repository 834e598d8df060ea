"""Which streams of a source an Importer takes, in which order, and what becomes of those that it does not take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import SCHEMA_STREAM, StreamSchema
from pipeline.kit.importer import ALL_STREAMS, Importer
from pipeline.kit.loading.records import column_problem
from pipeline.log_events import log


def ensure_some_handled(importer: Importer, streams: Collection[StreamName]) -> None:
    """ConfigurationError when no handler takes any of these streams."""
    if not streams or any(importer.handler_of(stream) for stream in streams):
        return
    raise ConfigurationError(
        f"{importer.line}: the Importer {importer.name!r} has no handler for any stream that is to be moved. The source has: "
        f"{', '.join(sorted(streams))}. It has handlers for: {', '.join(sorted(importer.handlers))}."
    )


def column_problems(importer: Importer, schemas: Sequence[StreamSchema]) -> Sequence[str]:
    """Return which of these streams lack what the rows of their handlers need, a sentence each."""
    taken = [(handler, one) for one in schemas if (handler := importer.handler_of(one.stream)) is not None]
    return [problem for handler, one in taken if (problem := column_problem(handler, one))]


class HandledStreams:
    """The streams of one Movement, as far as they are known. `unused` are streams with a handler that the source lacks."""

    def __init__(self, importer: Importer) -> None:
        self._importer = importer
        self._planned = False
        self.unused: Sequence[str] = ()

    def plan(self, present: Sequence[StreamName], chosen: Sequence[StreamName]) -> None:
        """Name in the log what is not taken. ConfigurationError when nothing is."""
        ensure_some_handled(self._importer, chosen)
        self._planned = True
        skipped = [stream for stream in chosen if self._importer.handler_of(stream) is None]
        self.unused = sorted(set(self._importer.handlers) - {ALL_STREAMS} - set(present))
        if skipped:
            log.warning("streams_unhandled", importer=self._importer.name, streams=skipped, count=len(skipped))
        if self.unused:
            log.warning("handlers_unused", importer=self._importer.name, streams=self.unused)

    def inventory(self, skipped: Mapping[StreamName, int], *, some_handled: bool) -> Sequence[InventoryItem]:
        """Return what is not moved. `skipped` counts the records of streams without a handler."""
        named = "unhandled stream" if self._planned or some_handled else "stream"
        without = f"the Importer {self._importer.name!r} has no handler for it"
        items = []
        for stream, records in sorted(skipped.items()):
            is_schema = stream == SCHEMA_STREAM
            counted = without if is_schema else f"{without}; {records:,} records were skipped"
            items.append(InventoryItem("schema object" if is_schema else named, stream, Fate.NOT_MOVED, counted))
        reason = "the source has no stream of this name"
        return items + [InventoryItem("unused handler", stream, Fate.NOT_MOVED, reason) for stream in self.unused]
