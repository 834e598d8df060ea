"""Keeping count: every event passes through here on its way to whoever watches."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import structlog

from pipeline.codec.documents.progress import GroupProgress, Progress, encode_progress
from pipeline.domain import object_keys
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import BinaryId, FlowName, Label
from pipeline.engine.movements.settlement import RunFigures
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition
from pipeline.ports.reporter import (
    BinaryFileFailed,
    BinaryFileStored,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    GroupComplete,
    ImportPlanned,
    Reporter,
    RowsRead,
)

log = structlog.get_logger()


class ProgressKeeper:
    """A Reporter that counts, remembers when something last moved, and passes every event on."""

    def __init__(self, clock: Clock, watcher: Reporter, worker: str) -> None:
        self._clock = clock
        self._watcher = watcher
        self._begun = anyio.current_time()
        self._failed_binaries: set[BinaryId] = set()
        self.last_progress = self._begun
        self.progress = Progress(worker, clock.now(), clock.now())

    def report(self, event: Event) -> None:
        """Count the event and pass it on."""
        self._count(event)
        self.last_progress = anyio.current_time()
        self._watcher.report(event)

    def _group(self, label: Label) -> GroupProgress:
        return self.progress.groups.setdefault(label, GroupProgress())

    def _count(self, event: Event) -> None:
        match event:
            case RowsRead():
                group = self._group(event.label)
                group.rows_read += event.rows
                group.encoded_bytes += event.encoded_bytes
            case EventFileStored():
                self._group(event.label).files_stored += 1
                self.progress.bytes_stored += 0 if event.adopted else event.size
            case GroupComplete():
                group = self._group(event.label)
                group.complete, group.files_listed = True, event.listed
            case ImportPlanned():
                group = self._group(event.label)
                group.files_skipped = max(event.skipped - group.files_imported, 0)
            case EventFileImported():
                group = self._group(event.label)
                group.files_imported += 1
                group.records_imported += event.mark.upserts + event.mark.deletes
            case EventFileFailed():
                self._group(event.label).files_failed += 1
            case BinaryFileStored():
                self._count_binary(event)
            case BinaryFileFailed():
                self._failed_binaries.add(event.id)
                self.progress.binaries_failed = len(self._failed_binaries)
            case _:
                pass

    def _count_binary(self, event: BinaryFileStored) -> None:
        self.progress.binary_bytes += event.size
        if event.reused:
            self.progress.binaries_reused += 1
        else:
            self.progress.binaries_stored += 1
            self.progress.bytes_stored += event.size

    def figures(self) -> RunFigures:
        """What this run has read and stored, and how long it has taken."""
        return figures_of([self.progress], anyio.current_time() - self._begun)

    async def write(self, store: ObjectStore, flow: FlowName, movement: int) -> None:
        """Store the present counts where `pipeline status` finds them. What fails here must not stop the Movement."""
        self.progress.updated = self._clock.now()
        self.progress.writes += 1
        key = object_keys.progress_key(flow, movement, self.progress.worker)
        try:
            await store.put(key, encode_progress(self.progress), PutCondition.NONE)
        except PipelineError as error:
            log.warning("progress_not_written", key=key, reason=str(error))


def figures_of(workers: Sequence[Progress], seconds: float) -> RunFigures:
    """Add up what workers have read and stored in one Movement."""
    return RunFigures(
        binaries_stored=sum(worker.binaries_stored for worker in workers),
        binaries_reused=sum(worker.binaries_reused for worker in workers),
        binaries_failed=sum(worker.binaries_failed for worker in workers),
        bytes_read=sum(
            worker.binary_bytes + sum(group.encoded_bytes for group in worker.groups.values()) for worker in workers
        ),
        bytes_stored=sum(worker.bytes_stored for worker in workers),
        seconds=seconds,
    )
