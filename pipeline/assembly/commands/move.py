"""`pipeline move`: a whole Movement in this process."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

from pipeline.assembly.connectors import read_pair
from pipeline.assembly.import_helper import ImportHelperProcess
from pipeline.assembly.import_helper_process import Errand
from pipeline.assembly.runtime import create_home, limits, open_queue, open_runtime
from pipeline.domain.movement import Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movers.mover import Mover
from pipeline.ports.reporter import Reporter
from pipeline.processes.children import has_room
from pipeline.settings import Settings
from pipeline.stores.flow_lock import hold_flow_lock


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """What `pipeline move` was asked for. `files` are a source and a destination directory that go along."""

    source: str
    destination: str
    flow: str | None = None
    files: tuple[str, str] | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


async def move(request: MoveRequest, settings: Settings, reporter: Reporter) -> Movement:
    """Move once and return the Movement, settled. Raises a PipelineError that a person can act on."""
    home_path = settings.home.absolute()
    pair = read_pair(request.source, request.destination, request.files, request.flow, home_path)
    create_home(settings.home)
    async with open_runtime(settings) as home:
        with hold_flow_lock(settings.home, pair.name):
            place = f"imports:{pair.name}"
            async with open_queue(settings, place) as queue:
                alone = replace(limits(settings), shard_files=0)  # this process takes no part in a fleet
                context = EngineContext(home.store, queue, home.clock, reporter, home.flows, alone)
                errand = Errand(pair.name, pair.destination, place, settings)
                help_ = ImportHelperProcess(errand) if settings.import_in_subprocess and has_room() else None
                mover = Mover(context, pair.name, pair.source, pair.destination, worker_name(), help_)
                return await mover.run(only=request.only, exclude=request.exclude)


def worker_name() -> str:
    """What this process is called in progress documents and logs."""
    return f"{socket.gethostname()}:{os.getpid()}"
