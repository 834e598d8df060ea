"""`pipeline verify`: a Flow's destination against its source, and on request a Movement of just what differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.assembly.connectors import flow_destination, flow_source, readable_place
from pipeline.assembly.runtime import Runtime, open_runtime, worker_name
from pipeline.connectors.remote_source import RemoteSource
from pipeline.domain.comparison.report import Against, Verification
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.repair import InvalidatedStreams, begin_repair
from pipeline.engine.verify.verifier import NoteDifference, Verifier, VerifyRequest
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings

APART_STATE_BYTES = 1_000_000
"""The size of the stored state from which on two processes read: some 100,000 rows. Starting one takes half a second."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What `--repair` did: `found` before, the Movement that brought it, and what is found `after`."""

    found: Verification
    movement: Movement
    after: Verification


async def verify(name: str, request: VerifyRequest, settings: Settings) -> Verification:
    """Compare a Flow's destination with its source. AbsentError when there is no such Flow."""
    async with open_runtime(settings) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        return await _verify(runtime, flow, request)


async def repair(
    name: str, request: VerifyRequest, settings: Settings, reporter: Reporter, tell: Callable[[Verification], None]
) -> Verification | Repair:
    """Compare, and move what differs. `tell` is called with what was found before anything is moved.

    Nothing is moved when all is equal. No other Movement of this Flow may run meanwhile on this machine.
    """
    async with open_runtime(settings) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        _ensure_repairable(flow, request)
        with runtime.lock(flow.name), InvalidatedStreams() as doubted:
            found = await _verify(runtime, flow, request, doubted.note)
            if found.equal:
                return found
            tell(found)
            doubted.note_streams(found.differing)
            if not doubted.streams:
                return found
            begun = await begin_repair(runtime.store, runtime.flows, runtime.clock, flow, doubted)
            movement = await _move(runtime, flow, begun, reporter)
        differed = replace(request, streams=begun.only)
        return Repair(found, movement, await _verify(runtime, flow, differed))


async def _verify(
    runtime: Runtime, flow: Flow, request: VerifyRequest, note: NoteDifference | None = None
) -> Verification:
    source = readable_place(flow.source, runtime.home)
    copy = readable_place(flow.destination, runtime.home)
    if await _is_large(runtime, flow):
        source = RemoteSource(source)
    verifier = Verifier(runtime.store, runtime.flows, runtime.clock, flow, source=source, copy=copy)
    return await verifier.run(request, note)


async def _is_large(runtime: Runtime, flow: Flow) -> bool:
    """Whether a process of its own for one side is worth its start, by what the Flow remembers of its streams."""
    latest = await runtime.flows.latest(flow)
    size = 0
    for key in latest.states.values() if latest else ():
        info = await runtime.store.stat(key)
        size += info.size if info else 0
        if size >= APART_STATE_BYTES:
            return True
    return False


async def _move(runtime: Runtime, flow: Flow, begun: Movement, reporter: Reporter) -> Movement:
    async with runtime.flow_context(flow.name, reporter) as context:
        source, destination = flow_source(flow, runtime.home), flow_destination(flow)
        mover = Mover(context, flow.name, source, destination, worker_name())
        return await mover.run(only=begun.only, exclude=begun.exclude)


def _ensure_repairable(flow: Flow, request: VerifyRequest) -> None:
    if request.against is Against.STORED:
        raise ConfigurationError("--repair brings what the source holds: it cannot go with --against stored.")
    if flow.origin is not None:
        raise ConfigurationError(
            f"Flow {flow.name!r} exports nothing of its own: it imports what Flow {flow.origin!r} has stored, so there is "
            f"nothing here to repair from. Bring it up to date with `pipeline flow import {flow.name}`."
        )
