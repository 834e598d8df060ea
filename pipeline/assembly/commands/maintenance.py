"""What a Flow needs now and then beside moving: compaction, and deleting what nobody needs any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol, runtime_checkable

import structlog

from pipeline.assembly.runtime import Runtime, open_runtime, worker_name
from pipeline.domain.ids import FlowName
from pipeline.engine.maintenance.compaction import Compaction, Compactor
from pipeline.engine.maintenance.pruning import OnObject, Pruner, Pruning
from pipeline.ports.reporter import Event
from pipeline.settings import Settings

STALE_UPLOAD_SECONDS = 86_400.0
"""An upload in parts that was begun a day ago and not completed is a dead process's: it is paid for, but not listed."""

log = structlog.get_logger()


@runtime_checkable
class _UploadsInParts(Protocol):
    """A store that keeps parts of what was never completed, as S3 does."""

    async def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Remove them; return how many uploads they were of."""
        ...


class _Nobody:
    """A Reporter for what is not a Movement of data: its result says all."""

    def report(self, event: Event) -> None:
        """Take no note."""


@asynccontextmanager
async def _locked(name: FlowName, settings: Settings) -> AsyncIterator[Runtime]:
    async with open_runtime(settings) as runtime:
        await runtime.flows.read_flow(name)
        with runtime.lock(name):
            yield runtime


async def compact(name: str, streams: Sequence[str], settings: Settings) -> Compaction:
    """Fold the history of a Flow's streams into fresh snapshots."""
    flow = FlowName(name)
    async with _locked(flow, settings) as runtime, runtime.flow_context(flow, _Nobody()) as context:
        return await Compactor(context, flow).run(streams)


async def look_to_prune(name: str, kept: timedelta, on_object: OnObject, settings: Settings) -> Pruning:
    """Tell what `prune` would delete."""
    flow = FlowName(name)
    async with open_runtime(settings) as runtime:
        return await _pruner(runtime, flow, kept).look(on_object)


async def prune(name: str, kept: timedelta, on_object: OnObject, settings: Settings, *, take_over: bool) -> Pruning:
    """Delete what nobody needs any more.

    The lock is one of this computer, and so is the embedded store: who holds it there is alone.
    """
    flow = FlowName(name)
    alone = take_over or not settings.store
    async with _locked(flow, settings) as runtime:
        pruning = await _pruner(runtime, flow, kept).run(on_object, alone=alone)
        if isinstance(runtime.store, _UploadsInParts):
            aborted = await runtime.store.abort_stale_uploads(STALE_UPLOAD_SECONDS)
            if aborted:
                log.info("stale_uploads_aborted", uploads=aborted)
        return pruning


def _pruner(runtime: Runtime, flow: FlowName, kept: timedelta) -> Pruner:
    return Pruner(runtime.store, runtime.flows, runtime.clock, flow, worker_name(), kept)
