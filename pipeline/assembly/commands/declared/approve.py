"""`pipeline approve` and `revoke`: what a person approves of a Flow is recorded, and revoking it stops the Flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from pipeline.assembly.commands.lifecycle.wishes import stop
from pipeline.assembly.connectors import flow_source
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.flows.approvals import Act, Approval, Terms, latest_by_side
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import NO_CHOICES, Flow, Status
from pipeline.domain.planning.selection import selected
from pipeline.engine.control.approvals import read_approvals, record_approval, terms_of
from pipeline.ports.source import ScopedSnapshot
from pipeline.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is asked to approve: the terms, and the scopes of each stream that has some."""

    flow: Flow
    terms: Terms
    scopes: Mapping[StreamName, Sequence[str]]


Confirm = Callable[[Asked], bool]
"""Shows a person what is to be approved, and returns whether it is."""


async def approve(
    flow: str, side: Side | str, by: str, confirm: Confirm = lambda asked: True, *, settings: Settings | None = None
) -> Approval | None:
    """Record that a person approves the Flow as it is now; return the record, None if `confirm` does not agree.

    `side` is "source" or "destination". The source is opened, for the scopes of its streams and its contract.
    """
    by, side = _ensure_name(by), _side(side)
    async with open_runtime(settings or load_settings()) as runtime:
        found = await _required(runtime, flow, side)
        asked = await _ask(found, runtime.settings)
        if not confirm(asked):
            return None
        terms = asked.terms
        act = Approval(
            0, side, Act.APPROVE, by, runtime.clock.now(), terms.text_sha256, terms.scopes, terms.contract or ""
        )
        return await record_approval(runtime.store, found.name, act)


async def revoke(
    flow: str, side: Side | str, by: str, reason: str = "", *, settings: Settings | None = None
) -> tuple[Approval, bool]:
    """Record that an approval is revoked, and stop a Movement that has not settled.

    Return the record, and whether a Movement was stopped. ConfigurationError when there is nothing to revoke.
    """
    by, side, settings = _ensure_name(by), _side(side), settings or load_settings()
    async with open_runtime(settings) as runtime:
        found = await runtime.flows.read_flow(FlowName(flow))
        before = latest_by_side(await read_approvals(runtime.store, found.name)).get(side)
        if before is None or before.act is Act.REVOKE:
            raise ConfigurationError(
                f"The {side.value}'s side has approved nothing of Flow {flow!r}: nothing to revoke."
            )
        act = Approval(0, side, Act.REVOKE, by, runtime.clock.now(), before.text_sha256, reason=reason)
        recorded = await record_approval(runtime.store, found.name, act)
        latest = await runtime.flows.latest(found)
    if latest is None or latest.settled:
        return recorded, False
    why = f"the approval of the {side.value}'s side was revoked{f': {reason}' if reason else ''}"
    try:
        stopped = (await stop(flow, reason=why, who=by, settings=settings)).movement
    except ConfigurationError:
        async with open_runtime(settings) as runtime:
            latest = await runtime.flows.latest(found)
        if latest is None or not latest.settled:
            raise
        return recorded, False
    return recorded, not stopped.settled or stopped.status is Status.CANCELLED


async def _required(runtime: Runtime, name: str, side: Side) -> Flow:
    flow = await runtime.flows.read_flow(FlowName(name))
    if side not in flow.declared.approvals.required:
        raise ConfigurationError(
            f"Flow {name!r} requires no approval of the {side.value}'s side. To require it: pipeline flow set {quote(name)} "
            f"'approvals.required=[\"{side.value}\"]'"
        )
    return flow


async def _ask(flow: Flow, settings: Settings) -> Asked:
    async with flow_source(flow, settings).open_snapshot() as snapshot:
        choices = NO_CHOICES.of_flow(flow.declared)
        schemas = [one for one in await snapshot.streams() if selected(one.stream, choices.only, choices.exclude)]
        known = snapshot.scopes() if isinstance(snapshot, ScopedSnapshot) else {}
        scopes = {one.stream: known[one.stream] for one in schemas if known.get(one.stream)}
        return Asked(flow, terms_of(flow, snapshot, schemas), scopes)


def _ensure_name(by: str) -> str:
    if not by.strip():
        raise ConfigurationError("Say who approves or revokes, with --by NAME. It is kept with the Flow.")
    return by.strip()


def _side(side: Side | str) -> Side:
    try:
        return Side(side)
    except ValueError:
        raise ConfigurationError(f"{side!r} is no side of a Flow: give source or destination.") from None
