"""Long-running workers, and what starts a Movement for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import anyio
import structlog

from pipeline.assembly.connectors import flow_destination, flow_source
from pipeline.assembly.runtime import open_runtime, worker_name
from pipeline.codec.documents.message import MovementStarted, QueueMessage, encode_message
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.engine.movements.derived_flows import start_derived
from pipeline.engine.workers.export_worker import ExportWorker
from pipeline.engine.workers.import_worker import ImportWorker
from pipeline.engine.workers.sweep import Sweep
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings

log = structlog.get_logger()


class Role(StrEnum):
    """What a worker does. Each role needs its own permissions only (docs/reference/permissions.md)."""

    EXPORT = "export"
    IMPORT = "import"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is ready to run. `name` is what logs and progress documents call it."""

    name: str
    role: Role
    loops: Sequence[ExportWorker | ImportWorker | Sweep]

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set, and what is in hand has been ended or given back."""
        log.info("worker_started", role=self.role.value)
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for loop in self.loops:
                    group.start_soon(loop.run, stop, name=type(loop).__name__)
        log.info("worker_stopped", role=self.role.value)


@asynccontextmanager
async def open_worker(
    role: Role, settings: Settings, reporter: Reporter, only_flows: frozenset[FlowName] = frozenset()
) -> AsyncIterator[Worker]:
    """Open store and queues for a worker. What cannot be used is told here, before any work.

    With `only_flows` it serves these, and needs no access to what belongs to others.
    """
    _check_shared(settings)
    name = worker_name()
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(settings, create_home=True))
        context = await stack.enter_async_context(runtime.fleet_context(reporter, only_flows))
        loops: list[ExportWorker | ImportWorker | Sweep] = []
        exports = None
        if role is not Role.IMPORT:
            exports = await stack.enter_async_context(runtime.exports())
            loops.append(ExportWorker(context, exports, lambda flow: flow_source(flow, runtime.home), name))
        if role is not Role.EXPORT:
            loops.append(ImportWorker(context, flow_destination, name))
        loops.append(Sweep(context, exports))
        yield Worker(name, role, loops)


def _check_shared(settings: Settings) -> None:
    """A bucket is shared by machines, an embedded queue is not: together they would leave somebody waiting."""
    embedded = [name for name in ("exports_queue", "imports_queue") if "://" not in getattr(settings, name)]
    if settings.store and embedded:
        log.warning("queue_not_shared", settings=embedded, reason="the store is a bucket, these queues are local files")
    if not settings.store and len(embedded) < 2:
        raise ConfigurationError(
            "The queue is SQS and the store is a local directory: a worker elsewhere would be rung for what it cannot see. "
            "Set store to s3://bucket as well."
        )


async def start(
    flow: FlowName, settings: Settings, only: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> tuple[Movement, bool]:
    """Create a Movement and announce it to exporters; return it, and whether it is new.

    A Movement that has not settled is announced again, and no new one made.
    """
    _check_shared(settings)
    async with open_runtime(settings) as runtime, runtime.exports() as exports:
        connected = await runtime.flows.read_flow(flow)
        if connected.origin is not None:
            async with runtime.imports() as imports:
                return await start_derived(runtime.flows, runtime.clock, imports, connected)
        movement, is_new = await runtime.flows.start(connected, only, exclude)
        await exports.send([encode_message(MovementStarted(movement.flow, movement.number))])
        return movement, is_new


async def wait_settled(flow: FlowName, number: int, settings: Settings) -> Movement:
    """Wait until a Movement has settled."""
    async with open_runtime(settings) as runtime:
        while True:
            movement = await runtime.flows.read_movement(flow, number)
            if movement.settled:
                return movement
            await anyio.sleep(min(settings.progress_seconds, 1.0))


async def sweep(settings: Settings, reporter: Reporter) -> Sequence[QueueMessage]:
    """Look twice at what is under way, and ring again for what nobody was at work on meanwhile."""
    async with (
        open_runtime(settings) as runtime,
        runtime.exports() as exports,
        runtime.fleet_context(reporter) as context,
    ):
        sweeping = Sweep(context, exports)
        await sweeping.look()
        await anyio.sleep(sweeping.patience_seconds)
        return await sweeping.look()
