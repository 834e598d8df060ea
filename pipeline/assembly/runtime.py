"""What every command works with: the store, the Flows in it, their locks and queues, and the engine's context."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.assembly.backends import open_queue, open_store
from pipeline.assembly.metering.meter import Meter
from pipeline.assembly.metering.tracer import create_tracer
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.kit.places.reference import list_plugins
from pipeline.paths import is_directory
from pipeline.ports.clock import Clock
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings
from pipeline.stores.flow_lock import hold_flow_lock


class SystemClock:
    """The computer's clock."""

    def now(self) -> datetime:
        """Return the present time in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The opened store with its Flows, and what is opened for one Flow or for a fleet of workers."""

    settings: Settings
    store: ObjectStore
    flows: FlowStore
    clock: Clock
    meter: Meter | None = None

    @property
    def home(self) -> Path:
        """The absolute path of the home directory. Locks are always in it; store and queues unless they are on AWS."""
        return self.settings.home.absolute()

    def lock(self, flow: FlowName) -> AbstractContextManager[None]:
        """Hold the lock of a Flow: one process of this computer moves, repairs, compacts or prunes it at a time."""
        return hold_flow_lock(self.settings.home, flow)

    def exports(self) -> AbstractAsyncContextManager[EventQueue]:
        """Open the queue that announces Movements to export workers."""
        return self._queue(self.settings.exports_queue, "exports")

    def imports(self, flow: FlowName | None = None) -> AbstractAsyncContextManager[EventQueue]:
        """Open the queue that announces File Groups: of a Flow that one process moves, or of the fleet of workers."""
        return self._queue(self.settings.imports_queue if flow is None else f"imports:{flow}", "imports")

    @asynccontextmanager
    async def _queue(self, name: str, kind: str) -> AsyncIterator[EventQueue]:
        async with open_queue(self.settings, name) as queue:
            yield self.meter.queue(queue, kind) if self.meter else queue

    @asynccontextmanager
    async def flow_context(self, flow: FlowName, reporter: Reporter) -> AsyncIterator[EngineContext]:
        """Open the context of a process that moves one Flow. It has no fleet, so no group is divided into shards."""
        async with self.imports(flow) as queue:
            yield EngineContext(
                self.store,
                queue,
                self.clock,
                reporter,
                self.flows,
                limits(self.settings, shard_files=0),
                tracer=create_tracer(),
            )

    @asynccontextmanager
    async def fleet_context(
        self, reporter: Reporter, only_flows: frozenset[FlowName] = frozenset()
    ) -> AsyncIterator[EngineContext]:
        """Open the context of a worker of a fleet. With `only_flows`, it serves these alone."""
        async with self.imports() as queue:
            found = limits(self.settings)
            yield EngineContext(
                self.store, queue, self.clock, reporter, self.flows, found, only_flows, tracer=create_tracer()
            )


_shared: ContextVar[Runtime | None] = ContextVar("shared", default=None)


@asynccontextmanager
async def share_runtime(settings: Settings, meter: Meter | None = None) -> AsyncIterator[Runtime]:
    """Open the store once for all commands with these settings that run inside, also at the same time."""
    async with open_runtime(settings, create_home=True, meter=meter) as runtime:
        token = _shared.set(runtime)
        try:
            yield runtime
        finally:
            _shared.reset(token)


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, create_home: bool = False, meter: Meter | None = None
) -> AsyncIterator[Runtime]:
    """Open the store that the settings name; with a `meter`, what passes through store and queues is counted.

    The home directory is created with `create_home`. Without, and without a bucket, ConfigurationError when there is none.
    """
    shared = _shared.get()
    if shared is not None and shared.settings is settings:
        yield shared
        return
    list_plugins(settings.plugins)
    if create_home:
        _create_home(settings.home)
    elif not settings.store and not is_directory(settings.home):
        raise ConfigurationError(
            f"There is no directory {settings.home} here: nothing has been moved from here yet. "
            "Name the home directory of your Flows with --home or PIPELINE_HOME."
        )
    clock = SystemClock()
    async with open_store(settings) as opened:
        store = meter.store(opened) if meter else opened
        yield Runtime(settings, store, FlowStore(store, clock), clock, meter)


def worker_name() -> str:
    """Return the name of this process in progress documents and logs."""
    return f"{socket.gethostname()}:{os.getpid()}"


def make_choices(
    only: Sequence[str],
    exclude: Sequence[str],
    allow_deletes: Sequence[str],
    settings: Settings,
    *,
    overwrite: bool = False,
) -> Choices:
    """Return the choices for a Movement; the settings may allow deletes as well."""
    return Choices(tuple(only), tuple(exclude), (*allow_deletes, *settings.allow_deletes.split()), overwrite)


def limits(settings: Settings, *, shard_files: int | None = None) -> Limits:
    """Return the engine's limits from the settings."""
    return Limits(
        event_file_bytes=settings.event_file_bytes,
        event_file_rows=settings.event_file_rows,
        zstd_level=settings.zstd_level,
        delete_guard_rows=settings.delete_guard_rows,
        importers=settings.importers,
        shard_files=settings.shard_files if shard_files is None else shard_files,
        visibility_seconds=settings.queue_visibility_seconds,
        sweep_seconds=settings.sweep_seconds,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        lifetime_seconds=settings.lifetime_seconds,
        progress_seconds=settings.progress_seconds,
    )


def _create_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigurationError(f"{home} is a file; --home needs a directory.") from None
    except OSError as error:
        raise RefusedError(
            f"The directory {home} cannot be created: {error.strerror}. Choose another one with --home."
        ) from error
