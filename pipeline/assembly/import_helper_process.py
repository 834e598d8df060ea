"""The process that a `ImportHelperProcess` starts: imports one Movement with others, and tells of all it does."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import anyio
import structlog

from pipeline.assembly.runtime import open_runtime
from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.engine.imports.import_helper import HelperEvent, run_helper
from pipeline.ports.destination import Destination
from pipeline.ports.reporter import Event
from pipeline.processes.process_setup import configure_runtime
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Errand:
    """What the helper is for: the Flow and its destination."""

    flow: FlowName
    destination: Destination
    settings: Settings


@dataclass(frozen=True, slots=True)
class Ready:
    """The helper is at work."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The helper has ended before its work did."""

    error: PipelineError


@dataclass(frozen=True, slots=True)
class Logged:
    """The helper has something to log."""

    level: str
    event: str
    values: dict[str, int | float | str]


Sent = HelperEvent | Ready | Ended | Logged


def main(line: int) -> None:
    """Serve what comes over the socket with this file descriptor."""
    configure_runtime()
    with Connection(line) as connection:
        errand, movement = connection.recv()
        serve(connection, errand, movement)


def serve(connection: Connection, errand: Errand, movement: int) -> None:
    """Help until the other end of `connection` is closed."""
    line = _Line(connection)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, line.log],
        wrapper_class=structlog.make_filtering_bound_logger(errand.settings.log_level),
    )
    try:
        anyio.run(_help, line, errand, movement)
    except PipelineError as error:
        line.send(Ended(error))


class _Line:
    """The way to whoever asked for help. Once he is gone, what is sent is lost, and `closed` soon set."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, sent: Sent) -> None:
        """Send, waiting until there is room."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(sent)

    def log(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> str:
        """Have it logged over there: a processor of structlog, the last one."""
        values = {name: value if isinstance(value, int | float) else str(value) for name, value in event.items()}
        self.send(Logged(level, str(values.pop("event")), values))
        raise structlog.DropEvent

    async def closed(self) -> None:
        """Wait until the other end is closed. Nothing is ever sent from there."""
        await anyio.wait_readable(self._connection)


async def _help(line: _Line, errand: Errand, number: int) -> None:
    with unwrap_exception_group():
        async with (
            open_runtime(errand.settings) as runtime,
            runtime.flow_context(errand.flow, _NotWatched()) as context,
        ):
            flow = await runtime.flows.read_flow(errand.flow)
            movement = await runtime.flows.read_movement(errand.flow, number)
            async with errand.destination.open(flow.marks_namespace) as session, anyio.create_task_group() as group:
                stop = anyio.Event()
                helping = partial(run_helper, context, movement, session, line.send, stop)
                await group.start(helping)
                line.send(Ready())
                await line.closed()
                stop.set()


class _NotWatched:
    def report(self, event: Event) -> None:
        """Nobody looks here: what happens is told over the line."""
