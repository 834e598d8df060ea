"""Long-running workers, the start of a Movement for them, and the sweep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import anyio

from pipeline.assembly.connectors import export_source, flow_destination, guard_existing
from pipeline.assembly.metering.meter import serve_metrics
from pipeline.assembly.notifying.senders import open_sender
from pipeline.assembly.runtime import Runtime, open_runtime, worker_name
from pipeline.codec.documents.message import QueueMessage
from pipeline.domain.errors import AbsentError, ConfigurationError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.engine.control.early_end import fence_by
from pipeline.engine.maintenance.worker import MaintenanceWorker
from pipeline.engine.movements.answers import Answers
from pipeline.engine.movements.work_errors import read_errors
from pipeline.engine.notifications.notifier import Notifier
from pipeline.engine.notifications.service import NotifierContext
from pipeline.engine.workers.export_worker import ExportWorker
from pipeline.engine.workers.import_worker import ImportWorker
from pipeline.engine.workers.sweep import Sweep
from pipeline.log_events import log
from pipeline.ports.reporter import Reporter, SilentReporter
from pipeline.settings import Settings, load_settings

SILENT_SECONDS = 30.0
"""Waiting for a Movement, a person is warned after this long without a sign of a worker."""


class Role(StrEnum):
    """What a worker does. Each role needs its own permissions only (docs/reference/permissions.md)."""

    EXPORT = "export"
    IMPORT = "import"
    NOTIFY = "notify"
    ALL = "all"


Loop = ExportWorker | ImportWorker | Sweep | Notifier | MaintenanceWorker


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is ready to run. `name` identifies it in logs and progress documents.

    `missing` returns the services that do not answer: of "store", "exports_queue" and "imports_queue".
    """

    name: str
    role: Role
    loops: Sequence[Loop]
    missing: Callable[[], Sequence[str]]

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set, then end the transactions in hand and give the messages back."""
        log.info("worker_started", role=self.role.value)
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for loop in self.loops:
                    group.start_soon(loop.run, stop, name=type(loop).__name__)
        log.info("worker_stopped", role=self.role.value)


@asynccontextmanager
async def open_worker(
    role: Role,
    *,
    flows: Sequence[str] = (),
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> AsyncIterator[Worker]:
    """Open the store and the queues for a worker. Errors of the settings are raised here, before any work.

    With `flows` it serves these alone, and needs no access to what belongs to others. It serves metrics if the settings say
    where.
    """
    settings = settings or load_settings()
    ensure_shared(settings)
    name = worker_name()
    async with AsyncExitStack() as stack:
        meter = await stack.enter_async_context(serve_metrics(settings))
        runtime = await stack.enter_async_context(open_runtime(settings, create_home=True, meter=meter))
        reporter = reporter or SilentReporter()
        only_flows = frozenset(map(FlowName, flows))
        notifiers = []
        if role in (Role.NOTIFY, Role.ALL):
            sender = await stack.enter_async_context(open_sender(settings))
            outgoing = NotifierContext(runtime.store, runtime.flows, runtime.clock, settings.notify_seconds, only_flows)
            notifiers.append(Notifier(outgoing, meter.sender(sender) if meter else sender, name))
        if role is Role.NOTIFY:
            yield Worker(name, role, notifiers, Answers().missing)
            return
        context = await stack.enter_async_context(
            runtime.fleet_context(meter.reporter(reporter) if meter else reporter, only_flows)
        )
        loops: list[Loop] = [*notifiers]
        exports = on_settled = None
        if role is not Role.IMPORT:
            maintenance = MaintenanceWorker(context, name)
            on_settled = maintenance.note
            loops.append(maintenance)
            exports = await stack.enter_async_context(runtime.exports())
            loops.append(
                ExportWorker(context, exports, lambda flow: export_source(flow, runtime.settings, runtime.store), name)
            )
        if role is not Role.EXPORT:
            destination, guard = partial(flow_destination, store=runtime.store), guard_existing(runtime.store, settings)
            loops.append(ImportWorker(context, destination, name, guard))
        fence = fence_by(lambda flow: flow_destination(flow, runtime.store))  # if an exporter may not, others do
        loops.append(Sweep(context, exports, fence, name, on_settled))
        yield Worker(name, role, loops, context.answers.missing)


async def run_worker(
    role: Role = Role.ALL,
    *,
    flows: Sequence[str] = (),
    stop: anyio.Event | None = None,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Run a worker until `stop` is set, or until cancelled. With `flows` it serves these alone."""
    async with open_worker(role, flows=flows, settings=settings, reporter=reporter) as worker:
        await worker.run(stop or anyio.Event())


async def wait_settled(flow: str, number: int, *, settings: Settings | None = None) -> Movement:
    """Wait until a Movement has settled, and return it. One whose start is queued may not exist yet.

    Without a sign of a worker for `SILENT_SECONDS` this is logged; TransientError after `idle_timeout_seconds`.
    """
    settings = settings or load_settings()
    async with open_runtime(settings) as runtime:
        signs, since, warned = (-1, -1, -1), anyio.current_time(), False
        while True:
            queued = (await runtime.flows.read_flow(FlowName(flow))).queued
            try:
                movement = await runtime.flows.read_movement(FlowName(flow), number)
                if movement.settled:
                    return movement
                now = await _signs_of_work(runtime, movement)
            except AbsentError:
                if queued is None:
                    raise
                now = (0, 0, 0)
            silent = anyio.current_time() - since
            if now != signs:
                signs, since, warned = now, anyio.current_time(), False
            elif silent > settings.idle_timeout_seconds:
                raise TransientError(
                    f"No worker has done anything for Movement {number} of Flow {flow!r} for {silent:.0f} seconds. It "
                    "stays announced: start a worker (`pipeline worker all`), and run the command again to wait on."
                )
            elif silent > SILENT_SECONDS and not warned:
                warned = True
                log.warning("no_worker_at_work", flow=flow, movement=number, seconds=round(silent))
            await anyio.sleep(min(settings.progress_seconds, 1.0))


async def _signs_of_work(runtime: Runtime, movement: Movement) -> tuple[int, int, int]:
    """Return counts that change while workers work on a Movement, or fail to."""
    workers = await runtime.flows.read_progress(movement.flow, movement.number)
    errors = await read_errors(runtime.store, movement.flow, movement.number)
    return movement.attempts, sum(worker.writes for worker in workers), sum(error.count for error in errors)


async def sweep(*, settings: Settings | None = None, reporter: Reporter | None = None) -> Sequence[QueueMessage]:
    """Announce again what is under way and no live worker holds; return the messages.

    It looks twice, some seconds apart, and takes what made no progress in between.
    """
    settings = settings or load_settings()
    async with (
        open_runtime(settings, create_home=bool(settings.store)) as runtime,
        runtime.exports() as exports,
        runtime.fleet_context(reporter or SilentReporter()) as context,
    ):
        sweeping = Sweep(context, exports)
        await sweeping.look()
        await anyio.sleep(sweeping.patience_seconds)
        return await sweeping.look()


def ensure_shared(settings: Settings) -> None:
    """Check that store and queues are visible to the same machines: a bucket is shared, an embedded queue is not."""
    embedded = [name for name in ("exports_queue", "imports_queue") if "://" not in getattr(settings, name)]
    if settings.store and embedded:
        log.warning("queue_not_shared", settings=embedded, reason="the store is a bucket, these queues are local files")
    if not settings.store and len(embedded) < 2:
        raise ConfigurationError(
            "The queue is SQS, but the store is a local directory, which workers elsewhere cannot see. "
            "Set store to s3://BUCKET as well."
        )
