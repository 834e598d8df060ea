"""`pipeline compact` and `pipeline prune`: they keep the store small."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, runtime_checkable

from pipeline.assembly.commands.lifecycle.wishes import early_end
from pipeline.assembly.connectors import flow_destination, flow_source, leads_to_app, readable_destination
from pipeline.assembly.runtime import Runtime, open_runtime, worker_name
from pipeline.domain.ids import FlowName
from pipeline.domain.planning.retention import Reason
from pipeline.engine.maintenance.compaction import Compaction, Compactor
from pipeline.engine.maintenance.needed import Kept
from pipeline.engine.maintenance.pruning import OnObject, Pruner, Pruning
from pipeline.engine.verify.rebuild import Rebuilder, Rebuilding
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectInfo
from pipeline.ports.reporter import SilentReporter
from pipeline.settings import Settings, load_settings

STALE_UPLOAD_SECONDS = 86_400.0
"""An upload in parts that began a day ago and is not complete is a dead process's. It is billed, but not listed."""


@runtime_checkable
class _UploadsInParts(Protocol):
    """A store that keeps the parts of uploads that were never completed, as S3 does."""

    async def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Remove them; return how many uploads they belonged to."""
        ...


async def compact(flow: str, streams: Sequence[str] = (), *, settings: Settings | None = None) -> Compaction:
    """Replace the history of a Flow's streams by fresh snapshots. `streams` are patterns; by default all streams."""
    async with (
        _locked(FlowName(flow), settings or load_settings()) as runtime,
        runtime.flow_context(FlowName(flow), SilentReporter()) as context,
    ):
        return await Compactor(context, FlowName(flow)).run(streams)


async def rebuild(flow: str, *, settings: Settings | None = None) -> Rebuilding:
    """Make the memory of a Flow from its source and destination, after stored objects were taken away."""
    name = FlowName(flow)
    async with _locked(name, settings or load_settings()) as runtime:
        found = await runtime.flows.read_flow(name)
        source = flow_source(found, runtime.settings)
        copy = None if leads_to_app(found) else readable_destination(found, runtime.settings, generated=False)
        async with flow_destination(found, runtime.store).open(found.marks_namespace) as session:
            marks = await session.marks()
        imported = max((max(file.movement, mark.movement) for file, mark in marks.items()), default=0)
        return await Rebuilder(runtime.store, runtime.flows, name, source, copy, early_end(runtime)).run(imported)


async def prune(
    flow: str,
    *,
    delete: bool = False,
    kept: timedelta | None = None,
    take_over: bool = False,
    on_object: OnObject | None = None,
    settings: Settings | None = None,
) -> Pruning:
    """Find what a Flow no longer needs, and with `delete` remove it.

    The progress and failures of Movements that settled within `kept` stay, by default within the time that the Flow
    declares. `take_over` carries on the pruning of
    another process, which must be dead; with the embedded store it is, since the lock of the Flow was free. `on_object`
    is called for each object.
    """
    settings = settings or load_settings()
    on_object = on_object or _ignore
    if not delete:
        async with open_runtime(settings) as runtime:
            return await (await _pruner(runtime, flow, kept)).preview(on_object)
    async with _locked(FlowName(flow), settings) as runtime:
        pruner = await _pruner(runtime, flow, kept)
        pruning = await pruner.run(on_object, take_over=take_over or not settings.store)
        if isinstance(runtime.store, _UploadsInParts):
            aborted = await runtime.store.abort_stale_uploads(STALE_UPLOAD_SECONDS)
            if aborted:
                log.info("stale_uploads_aborted", uploads=aborted)
        return pruning


@asynccontextmanager
async def _locked(flow: FlowName, settings: Settings) -> AsyncIterator[Runtime]:
    async with open_runtime(settings) as runtime:
        await runtime.flows.read_flow(flow)
        with runtime.lock(flow):
            yield runtime


async def _pruner(runtime: Runtime, flow: str, kept: timedelta | None) -> Pruner:
    declared = Kept.of((await runtime.flows.read_flow(FlowName(flow))).declared.retention)
    keep = declared if kept is None else replace(declared, reports=kept)
    return Pruner(runtime.store, runtime.flows, runtime.clock, FlowName(flow), worker_name(), keep)


def _ignore(info: ObjectInfo, reason: Reason) -> None:
    """The totals are enough."""
