"""`pipeline move`: a whole Movement in this process."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.assembly.connectors import read_pair
from pipeline.assembly.import_helper import ImportHelperProcess
from pipeline.assembly.import_helper_process import Errand
from pipeline.assembly.reporters import SilentReporter
from pipeline.assembly.runtime import open_runtime, worker_name
from pipeline.domain.movement import Movement
from pipeline.engine.movers.mover import Mover
from pipeline.ports.reporter import Reporter
from pipeline.processes.children import has_room
from pipeline.settings import Settings, load_settings


async def move(
    source: str,
    destination: str,
    *,
    flow: str | None = None,
    files: tuple[str, str] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> Movement:
    """Move what is new from `source` to `destination`, and return the Movement, settled.

    `flow` names the connection between the two; by default the name is made from them. `files` are a source and a
    destination directory that are moved with a database. `only` and `exclude` are patterns of stream names.
    `settings` come from the environment by default. Raises a PipelineError that says what to do; the same call then
    carries on where this one stopped.
    """
    settings = settings or load_settings()
    pair = read_pair(source, destination, files, flow, settings.home.absolute())
    async with open_runtime(settings, create_home=True) as runtime:
        with runtime.lock(pair.name):
            async with runtime.flow_context(pair.name, reporter or SilentReporter()) as context:
                errand = Errand(pair.name, pair.destination, settings)
                help_ = ImportHelperProcess(errand) if settings.import_in_subprocess and has_room() else None
                mover = Mover(context, pair.name, pair.source, pair.destination, worker_name(), help_)
                return await mover.run(only=tuple(only), exclude=tuple(exclude))
