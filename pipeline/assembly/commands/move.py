"""`pipeline move`: a whole Movement in this process."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.assembly.connectors import read_pair
from pipeline.assembly.import_helper import ImportHelperProcess
from pipeline.assembly.import_helper_process import Errand
from pipeline.assembly.runtime import open_runtime, worker_name
from pipeline.domain.movement import Movement
from pipeline.engine.movers.mover import Mover
from pipeline.ports.reporter import Reporter
from pipeline.processes.children import has_room
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """The arguments of `pipeline move`. `files` are a source and a destination directory, moved with a database."""

    source: str
    destination: str
    flow: str | None = None
    files: tuple[str, str] | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


async def move(request: MoveRequest, settings: Settings, reporter: Reporter) -> Movement:
    """Move once and return the Movement, settled. Raises a PipelineError that a person can act on."""
    pair = read_pair(request.source, request.destination, request.files, request.flow, settings.home.absolute())
    async with open_runtime(settings) as runtime:
        with runtime.lock(pair.name):
            async with runtime.flow_context(pair.name, reporter) as context:
                errand = Errand(pair.name, pair.destination, settings)
                help_ = ImportHelperProcess(errand) if settings.import_in_subprocess and has_room() else None
                mover = Mover(context, pair.name, pair.source, pair.destination, worker_name(), help_)
                return await mover.run(only=request.only, exclude=request.exclude)
