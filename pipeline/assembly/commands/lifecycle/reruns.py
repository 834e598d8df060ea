"""`pipeline rerun` and `reload`: new Movements that move what is missing, or a whole stream again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from pipeline.assembly.commands.lifecycle.wishes import announce
from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.status import ask_marks
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Movement
from pipeline.engine.control.approvals import ensure_text_approved
from pipeline.engine.control.reruns import Missing, create_rerun, movement_to_rerun
from pipeline.engine.verify.reload import begin_reload
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings, load_settings

Tell = Callable[[str], None]


async def rerun(
    flow: str,
    *,
    movement: int | None = None,
    tell: Tell | None = None,
    by_workers: bool = False,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> Movement:
    """Run a Movement of a Flow again, by default the latest: move what is missing, in a new Movement that names it.

    It runs as the first one did: in this process, and then it is returned settled, or announced to workers. With
    `by_workers` it is announced to them in any case. `tell` is called with what is to do, before anything is done.
    """
    settings = settings or load_settings()

    async def create(runtime: Runtime) -> tuple[Movement, Movement]:
        of, latest = await movement_to_rerun(runtime.flows, FlowName(flow), movement)
        if tell is not None:
            tell(f"Movement {of.number} of Flow {flow} is {of.status}: {await _missing(runtime, latest)}.")
        return of, await create_rerun(runtime.flows, of, latest)

    return await _run(flow, create, settings, reporter, by_workers=by_workers)


async def reload(
    flow: str,
    stream: str,
    *,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> Movement:
    """Move all of a stream again, as if none of it had been moved; rows that are gone at the source are deleted.

    It runs as the latest Movement did: in this process, and then it is returned settled, or announced to workers.
    """
    settings = settings or load_settings()

    async def create(runtime: Runtime) -> tuple[Movement, Movement]:
        found = await runtime.flows.latest(await runtime.flows.read_flow(FlowName(flow)))
        begun = await begin_reload(runtime.store, runtime.flows, runtime.clock, FlowName(flow), StreamName(stream))
        return found or begun, begun

    return await _run(flow, create, settings, reporter)


async def _run(
    flow: str,
    create: Callable[[Runtime], Awaitable[tuple[Movement, Movement]]],
    settings: Settings,
    reporter: Reporter | None,
    *,
    by_workers: bool = False,
) -> Movement:
    """Create a Movement, and run it as the one that it follows was run, or by workers."""
    async with open_runtime(settings) as runtime:
        with runtime.lock(FlowName(flow)) if not settings.store else nullcontext():
            await ensure_text_approved(runtime.store, await runtime.flows.read_flow(FlowName(flow)))
            before, created = await create(runtime)
        if by_workers or before.exporter or not before.attempts:
            await announce(runtime, created)
            return created
    return await move(
        flow=flow,
        only=created.only,
        exclude=created.exclude,
        allow_deletes=created.allow_deletes,
        overwrite=created.overwrite,
        settings=settings,
        reporter=reporter,
    )


async def _missing(runtime: Runtime, latest: Movement) -> Missing:
    flow = await runtime.flows.read_flow(latest.flow)
    lists = [await runtime.flows.read_file_list(key) for _, key in sorted(latest.file_lists.items())]
    marks = await ask_marks(flow, runtime.store) if lists else None
    return Missing.of(lists, {} if marks is None else marks.by_file, exported=latest.exported)
