"""`pipeline verify`: compares a Flow's destination with its source, and on request moves just what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from shlex import quote

from pipeline.assembly.connectors import app_copy, flow_destination, flow_source, readable_destination, readable_source
from pipeline.assembly.runtime import Runtime, make_choices, open_runtime, worker_name
from pipeline.connectors.remote_source import RemoteSource
from pipeline.domain.comparison.report import Against, Verification
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices, Flow, Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.control.approvals import ensure_text_approved
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.repair import InvalidatedStreams, begin_repair
from pipeline.engine.verify.stored_snapshot import StoredSnapshot
from pipeline.engine.verify.verifier import EXAMPLES_KEPT, NoteDifference, Verifier, VerifyRequest
from pipeline.kit.places.reference import SCHEME
from pipeline.ports.reporter import Reporter, SilentReporter
from pipeline.ports.source import Source
from pipeline.settings import Settings, load_settings

SUBPROCESS_STATE_BYTES = 1_000_000
"""From this size of the stored state, about 100,000 rows, a subprocess reads the source. It takes half a second to start."""


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair: the comparison before it, the Movement that it ran, and the comparison after it.

    `movement` is None, and `after` is `found`, if there was nothing to move.
    """

    found: Verification
    movement: Movement | None
    after: Verification

    @property
    def mended(self) -> int:
        """The number of differing keys that are equal now."""
        return max(0, self.found.differences - self.after.differences)


async def verify(
    flow: str,
    *,
    streams: Sequence[str] = (),
    against: Against = Against.SOURCE,
    examples: int = EXAMPLES_KEPT,
    source: Source | None = None,
    destination: Source | None = None,
    settings: Settings | None = None,
) -> Verification:
    """Compare a Flow's destination with its source, or with what was stored of it last. Nothing is changed.

    `streams` are patterns; by default all streams are compared. `examples` limits how many differing keys of each
    stream are named. `source` and `destination` are objects of your own that read the two ends, in place of what the
    Flow names. AbsentError when there is no such Flow.
    """
    async with open_runtime(settings or load_settings()) as runtime:
        request = VerifyRequest(tuple(streams), against, examples)
        verified = await runtime.flows.read_flow(FlowName(flow))
        for given, url in ((source, verified.source), (destination, verified.destination)):
            if given is not None and given.location != url:
                raise ConfigurationError(f"Flow {flow!r} connects {url}, not {given.location}.")
        return await _verify(runtime, verified, request, source=source, copy=destination)


async def repair(
    flow: str,
    *,
    streams: Sequence[str] = (),
    examples: int = EXAMPLES_KEPT,
    allow_deletes: Sequence[str] = (),
    on_found: Callable[[Verification], None] | None = None,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> Repair:
    """Compare a Flow's destination with its source, move what differs, and compare those streams again.

    `allow_deletes` is as of `move`. `on_found` is called with the differences before anything is moved. The Flow is locked
    on this computer meanwhile.
    """
    request = VerifyRequest(tuple(streams), examples=examples)
    async with open_runtime(settings or load_settings()) as runtime:
        repaired = await runtime.flows.read_flow(FlowName(flow))
        _ensure_repairable(repaired)
        with runtime.lock(repaired.name), InvalidatedStreams() as invalidated:
            found = await _verify(runtime, repaired, request, invalidated.note)
            if found.equal:
                return Repair(found, None, found)
            if on_found is not None:
                on_found(found)
            invalidated.note_streams(found.differing)
            if not invalidated.streams:
                return Repair(found, None, found)
            await ensure_text_approved(runtime.store, repaired)
            begun = await begin_repair(runtime.store, runtime.flows, runtime.clock, repaired, invalidated)
            choices = make_choices(begun.only, begun.exclude, allow_deletes, runtime.settings)
            movement = await _move(runtime, repaired, choices, reporter or SilentReporter())
        after = await _verify(runtime, repaired, replace(request, streams=begun.only))
        return Repair(found, movement, replace(after, gaps=found.gaps, accepted=found.accepted))


async def _verify(
    runtime: Runtime,
    flow: Flow,
    request: VerifyRequest,
    note: NoteDifference | None = None,
    *,
    source: Source | None = None,
    copy: Source | None = None,
) -> Verification:
    generated = request.against is Against.SOURCE
    copy = copy or app_copy(flow, runtime.store, partial(_stored_streams, runtime, flow))
    copy = copy or readable_destination(flow, runtime.settings, generated=generated)
    if source is None:
        make_source = partial(readable_source, flow, runtime.settings)
        is_remote = not flow.source.startswith(f"{SCHEME}://") and await _is_large(runtime, flow)
        source = RemoteSource(make_source) if is_remote else make_source()
    verifier = Verifier(runtime.store, runtime.flows, runtime.clock, flow, source=source, copy=copy)
    return await verifier.run(request, note)


async def _stored_streams(runtime: Runtime, flow: Flow) -> Sequence[StreamSchema]:
    """Return the streams that a Flow has stored; of a derived one, those of its origin."""
    if flow.origin is not None:
        flow = await runtime.flows.read_flow(flow.origin)
    latest = await runtime.flows.latest(flow)
    return [] if latest is None else await StoredSnapshot(runtime.store, latest).streams()


async def _is_large(runtime: Runtime, flow: Flow) -> bool:
    """Whether a subprocess for one side is worth its start, judged by the stored state of the Flow's streams."""
    latest = await runtime.flows.latest(flow)
    size = 0
    for key in latest.states.values() if latest else ():
        info = await runtime.store.stat(key)
        size += info.size if info else 0
        if size >= SUBPROCESS_STATE_BYTES:
            return True
    return False


async def _move(runtime: Runtime, flow: Flow, choices: Choices, reporter: Reporter) -> Movement:
    async with runtime.flow_context(flow.name, reporter) as context:
        source, destination = flow_source(flow, runtime.settings), flow_destination(flow, runtime.store)
        mover = Mover(context, flow.name, source, destination, worker_name())
        return await mover.run(choices)


def _ensure_repairable(flow: Flow) -> None:
    if flow.origin is not None:
        raise ConfigurationError(
            f"Flow {flow.name!r} exports nothing of its own: it imports what Flow {flow.origin!r} has stored, so there is "
            f"no source to repair it from. Bring it up to date with `pipeline flow import {quote(flow.name)}`."
        )
