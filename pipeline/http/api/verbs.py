"""What each verb of the lifecycle does, and when it is legal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from pipeline.assembly.commands.lifecycle.rejected import retry_rejected
from pipeline.assembly.commands.lifecycle.reruns import rerun
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.lifecycle.wishes import pause, resume, stop
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.table import Verb
from pipeline.engine.control.approvals import next_steps
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site
from pipeline.http.tokens import Identity
from pipeline.log_events import log

STOP_SECONDS = 2.0
"""How long a request to stop waits for the end of what is in hand. Workers end it afterwards."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for with a verb."""

    reason: str = ""
    groups: Sequence[str] = ()
    until: datetime | None = None


async def _start(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    movement, _ = await start(flow, who=who.name, settings=site.runtime.settings)
    return movement.number


async def _queue(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    movement, _ = await start(flow, queue=True, who=who.name, settings=site.runtime.settings)
    return movement.number


async def _pause(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    wished = await pause(
        flow,
        groups=asked.groups,
        until=asked.until,
        reason=asked.reason,
        who=who.name,
        settings=site.runtime.settings,
    )
    return wished.movement.number


async def _resume(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    wished = await resume(flow, groups=asked.groups, who=who.name, settings=site.runtime.settings)
    return wished.movement.number


async def _stop(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    wished = await stop(
        flow,
        groups=asked.groups,
        reason=asked.reason,
        who=who.name,
        wait_seconds=STOP_SECONDS,
        settings=site.runtime.settings,
    )
    return wished.movement.number


async def _rerun(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    return (await rerun(flow, by_workers=True, settings=site.runtime.settings)).number


async def _retry(site: Site, who: Identity, flow: FlowName, asked: Asked) -> int:
    await retry_rejected(flow, settings=site.runtime.settings)
    return (await site.runtime.flows.read_flow(flow)).movements


DO: Mapping[Verb, Callable[[Site, Identity, FlowName, Asked], Awaitable[int]]] = {
    Verb.START: _start,
    Verb.QUEUE: _queue,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.STOP: _stop,
    Verb.RERUN: _rerun,
    Verb.RETRY: _retry,
}
"""The verbs that can be done over HTTP. Each returns the number of the Movement that it is about."""


_OF_GROUPS = (Verb.PAUSE, Verb.RESUME, Verb.STOP)


async def act(site: Site, who: Identity, flow: FlowName, verb: Verb, asked: Asked) -> int:
    """Do a verb; return the number of the Movement that it is about. A problem with the legal verbs when it is illegal."""
    if (asked.groups and verb not in _OF_GROUPS) or (asked.until and verb is not Verb.PAUSE):
        what, verbs = ("until", (Verb.PAUSE,)) if asked.until else ("groups", _OF_GROUPS)
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{verb} takes no {what!r}: that is for {', '.join(verbs)}. Nothing was done.",
        )
    found = await site.runtime.flows.read_flow(flow)
    latest = await site.runtime.flows.latest(found)
    if latest is None and verb not in (Verb.START, Verb.QUEUE):
        raise ProblemError(HTTPStatus.CONFLICT, f"Flow {flow!r} has no Movement yet.", legal=[Verb.START.value])
    if latest is not None:
        steps = await next_steps(site.runtime.flows, found, latest, site.runtime.clock.now())
        if (why := steps.refusal(verb)) is not None:
            raise ProblemError(HTTPStatus.CONFLICT, why, legal=sorted(steps.legal & DO.keys()))
    number = await DO[verb](site, who, flow, asked)
    log.info("action_taken", flow=flow, verb=verb.value, by=who.name, why=asked.reason)
    return number
