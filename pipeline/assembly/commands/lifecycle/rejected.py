"""`pipeline rejected` and `retry`: the rejected records of a Flow are listed, tried again, and corrected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from shlex import quote

import orjson

from pipeline.assembly.commands.lifecycle.corrections import Correction, RejectedRow, corrected
from pipeline.assembly.connectors import flow_destination
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.status import RERUN
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.rejections import without_accepted
from pipeline.engine.control.approvals import next_steps
from pipeline.engine.control.reruns import latest_for
from pipeline.engine.storage.binaries import open_contents
from pipeline.ports.destination import DestinationSession, KeptRecord, RejectedKeeper, Rejection
from pipeline.ports.reporter import SilentReporter
from pipeline.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rejected records are meant: those of streams that match a pattern, and with this text in their reason."""

    streams: tuple[str, ...] = ()
    reason: str = ""

    def has(self, stream: str, reason: str) -> bool:
        """Return whether a record is meant."""
        matches = not self.streams or any(fnmatchcase(stream, pattern) for pattern in self.streams)
        return matches and self.reason.lower() in reason.lower()

    def chooses(self, rejection: Rejection) -> bool:
        """Return whether a record is meant."""
        return self.has(rejection.file.stream, rejection.reason)


@dataclass(frozen=True, slots=True)
class Retried:
    """How many records were tried again, and how many of them are accepted now. `superseded` are corrected ones that a
    newer version has replaced meanwhile."""

    movement: Movement
    tried: int
    accepted: int
    superseded: int = 0

    @property
    def left(self) -> int:
        """How many of those that were tried are still rejected."""
        return self.tried - self.accepted - self.superseded


async def list_rejected(
    flow: str, *, streams: Sequence[str] = (), reason: str = "", settings: Settings | None = None
) -> Sequence[RejectedRow]:
    """Return the rejected records of a Flow: those of the destination, and those that the source could not give."""
    wanted = Selection(tuple(streams), reason)
    async with open_runtime(settings or load_settings()) as runtime:
        found = await runtime.flows.read_flow(FlowName(flow))
        latest = await runtime.flows.latest(found)
        if latest is None:
            return []
        async with _opened(runtime, FlowName(flow), latest) as keeper:
            rows = [_row(one) for one in await keeper.rejected()]
        rows += [
            RejectedRow(one.stream, None, None, one.key, one.column, None, one.reason)
            for one in latest.rejections.named
        ]
        return [row for row in rows if wanted.has(row.stream, row.reason)]


async def retry_rejected(
    flow: str, *, streams: Sequence[str] = (), reason: str = "", settings: Settings | None = None
) -> Retried:
    """Load rejected records of a Flow again, in the order of each key; a newer version that was loaded meanwhile wins.

    ConfigurationError when there are none, and what is meant then; also while a Movement is under way.
    """
    wanted = Selection(tuple(streams), reason)
    async with open_runtime(settings or load_settings()) as runtime:
        found, latest = await latest_for(runtime.flows, FlowName(flow), Verb.RETRY)
        with runtime.lock(FlowName(flow)):
            async with _opened(runtime, FlowName(flow), latest) as keeper:
                chosen = [one.rejection for one in await keeper.rejected() if wanted.chooses(one.rejection)]
                if not chosen:
                    raise ConfigurationError(await _nothing_to_retry(runtime, found, latest, wanted))
                left = await keeper.retry_chosen(wanted.chooses)
        return await _counted(runtime, latest, chosen, left)


async def load_corrected(flow: str, corrections: Sequence[Correction], *, settings: Settings | None = None) -> Retried:
    """Give rejected records the contents that a person has corrected, and load them.

    ConfigurationError when one is no rejected record of the Flow, its key was changed, or its content is no record.
    """
    async with open_runtime(settings or load_settings()) as runtime:
        _, latest = await latest_for(runtime.flows, FlowName(flow), Verb.RETRY)
        with runtime.lock(FlowName(flow)):
            async with _opened(runtime, FlowName(flow), latest) as keeper:
                records = corrected(flow, await keeper.rejected(), corrections)
                places = {(one.rejection.file, one.rejection.line) for one in records}
                stored = await keeper.correct_rejected(records)
                left = await keeper.retry_chosen(lambda one: (one.file, one.line) in places)
        retried = await _counted(runtime, latest, [one.rejection for one in records], left)
        superseded = len(records) - stored
        return replace(retried, accepted=retried.accepted - superseded, superseded=superseded)


@asynccontextmanager
async def _opened(runtime: Runtime, name: FlowName, latest: Movement) -> AsyncIterator[RejectedKeeper]:
    """Open the destination of a Flow, which gets contents from where its `latest` Movement is stored.

    ConfigurationError when it does not keep rejected records one by one.
    """
    flow = await runtime.flows.read_flow(name)
    async with flow_destination(flow, runtime.store).open(flow.marks_namespace) as session:
        opened: DestinationSession = session
        if not isinstance(opened, RejectedKeeper):
            raise ConfigurationError(f"{flow.destination} keeps no rejected records: its app says what it refuses.")
        open_contents(session, runtime.store, latest, SilentReporter())
        yield opened


def _row(kept: KeptRecord) -> RejectedRow:
    it = kept.rejection
    text = kept.record.decode(errors="backslashreplace")
    try:
        bodies = list(orjson.loads(kept.record).values())
        body = bodies[0] if bodies and isinstance(bodies[0], dict) else {}
    except (orjson.JSONDecodeError, AttributeError):
        body = {}
    value = body.get(it.column) if it.column else None
    return RejectedRow(it.file.stream, str(it.file), it.line, it.key, it.column, value, it.reason, text)


async def _counted(
    runtime: Runtime, latest: Movement, chosen: Sequence[Rejection], left: Sequence[Rejection]
) -> Retried:
    """Count what was accepted, also in the latest Movement, whose status does not change."""
    tried = {(str(one.file), one.line): one.key for one in chosen}
    refused = {(str(one.file), one.line) for one in left}
    taken = {place: key for place, key in tried.items() if place not in refused}
    accepted = len(taken)

    def count(now: Movement) -> Movement:
        totals = replace(
            now.totals,
            rejected=max(0, now.totals.rejected - accepted),
            upserts=now.totals.upserts + accepted,
            waiting=sum(one.waits for one in left),
        )
        return replace(now, totals=totals, problems=without_accepted(now.problems, taken), retried=True)

    if accepted and latest.settled:
        latest = await runtime.flows.update(latest.flow, latest.number, count)
    return Retried(latest, len(tried), accepted)


async def _nothing_to_retry(runtime: Runtime, found: Flow, latest: Movement, wanted: Selection) -> str:
    flow, again = found.name, (await next_steps(runtime.flows, found, latest, runtime.clock.now())).again
    if wanted != Selection():
        return (
            f"Flow {flow!r} has no such rejected record. `pipeline rejected {quote(flow)}` lists those that there are."
        )
    said = f"Flow {flow!r} has no rejected records at its destination: there is nothing to retry. "
    if not latest.settled:
        return f"{said}`pipeline resume {quote(flow)}` goes on with Movement {latest.number}."
    if latest.rejections.count:
        return (
            f"{said}The source could not give {latest.rejections.count:,}: correct them there; then {again} moves them."
        )
    if latest.status in RERUN:
        return f"{said}{again} moves what Movement {latest.number} left."
    return f"{said}`pipeline start {quote(flow)}` or `pipeline move --flow {quote(flow)}` moves what has changed since."
