"""`pipeline start`: a Movement is created, or queued, and announced to workers."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.assembly.commands.checks.quick import ensure_checked, local_paths
from pipeline.assembly.commands.lifecycle.wishes import STOP_SECONDS, cancelled, whoami
from pipeline.assembly.commands.workers import ensure_shared
from pipeline.assembly.connectors import ensure_fits
from pipeline.assembly.runtime import Runtime, make_choices, open_runtime
from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.inventory import ensure_kinds
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Choices, Flow, Movement
from pipeline.engine.control.approvals import ensure_text_approved
from pipeline.engine.control.queued import begin_queued, queue_start
from pipeline.engine.control.verbs import wish
from pipeline.engine.movements.derived_flows import start_derived
from pipeline.engine.movements.lifecycle import ensure_may_start, start_movement
from pipeline.settings import Settings, load_settings


async def start(
    flow: str,
    *,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow_deletes: Sequence[str] = (),
    overwrite: bool = False,
    restart: bool = False,
    queue: bool = False,
    accept_missing: Sequence[str] = (),
    who: str | None = None,
    settings: Settings | None = None,
) -> tuple[Movement, bool]:
    """Create a Movement and announce it to workers; return it, and whether it is new.

    ConfigurationError, which names the legal verbs, while another Movement has not settled. With `queue`, the new one
    waits until that has settled. With `restart` that is stopped first, as `stop` does; if that takes longer than 15
    seconds, the new one waits. What waits begins by itself: then the present Movement is returned. `overwrite` is as of
    `move`. `who` starts it, the user of this computer by default.
    """
    settings = settings or load_settings()
    ensure_shared(settings)
    ensure_kinds(accept_missing)
    choices = make_choices(only, exclude, allow_deletes, settings, overwrite=overwrite)
    async with open_runtime(settings, create_home=bool(settings.store)) as runtime, runtime.exports() as exports:
        found = await runtime.flows.accept_missing(FlowName(flow), accept_missing)
        ensure_fits(found)
        if found.origin is not None:
            if only or exclude or allow_deletes or restart or queue:
                raise ConfigurationError(
                    f"Flow {flow!r} imports all that Flow {found.origin!r} has stored: leave out --only, --exclude, "
                    f"--allow-deletes, --restart and --queue, or give them when you start {found.origin!r}."
                )
            if (latest := await runtime.flows.latest(found)) is not None:
                ensure_may_start(found, latest, runtime.clock.now())
            async with runtime.imports() as imports:
                return await start_derived(runtime.flows, runtime.clock, imports, found, overwrite=overwrite)
        await _ensure_may_start(runtime, found, settings)
        who, is_new = who or whoami(), True
        if restart:
            await _stop_latest(runtime, found, who)
        if restart or queue:
            movement, is_new = await _begin_or_queue(runtime, found, choices, who)
        else:
            movement = await start_movement(runtime.flows, found, choices)
        await exports.send([encode_message(MovementStarted(movement.flow, movement.number))])
        return movement, is_new


async def _ensure_may_start(runtime: Runtime, flow: Flow, settings: Settings) -> None:
    if not settings.store:  # otherwise the workers may be on other computers
        ensure_checked(flow.name, local_paths(flow.destination), flow, settings)
    await ensure_text_approved(runtime.store, flow)


async def _begin_or_queue(runtime: Runtime, flow: Flow, choices: Choices, who: str) -> tuple[Movement, bool]:
    """Return the Movement of a queued start, and True; if it has to wait, the one that it waits for."""
    flow = await queue_start(runtime.flows, flow.name, choices, who)
    if (begun := await begin_queued(runtime.flows, flow)) is not None:
        return begun, True
    latest = await runtime.flows.latest(flow)
    assert latest is not None  # without one, nothing has to wait
    return latest, False


async def _stop_latest(runtime: Runtime, flow: Flow, who: str) -> None:
    latest = await runtime.flows.latest(flow)
    if latest is None or latest.settled or latest.compaction:
        return
    stopping = await wish(runtime.flows, flow.name, Verb.STOP, who=who, why="it is started again")
    await cancelled(runtime, stopping, STOP_SECONDS, Reason.RESTARTED)
