"""`pipeline move`: a whole Movement in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.assembly.apps.ends import with_accepted, with_store
from pipeline.assembly.commands.checks.quick import ensure_checked, find_flow, local_paths
from pipeline.assembly.commands.flows import ensure_two_places, pair_to_move
from pipeline.assembly.commands.maintenance.automatic import maintain
from pipeline.assembly.connectors import Pair, PathText
from pipeline.assembly.import_helper import ImportHelper
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import make_choices, open_runtime, worker_name
from pipeline.domain.inventory import ensure_kinds
from pipeline.domain.movement import Movement
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.existing_rows import ExistingRows
from pipeline.ports.destination import Destination
from pipeline.ports.reporter import Reporter, SilentReporter
from pipeline.ports.source import Source
from pipeline.processes.processors import has_spare_processor
from pipeline.settings import Settings, load_settings


async def move(
    source: PathText | Source | None = None,
    destination: PathText | Destination | None = None,
    *,
    flow: str | None = None,
    files: tuple[PathText, PathText] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow_deletes: Sequence[str] = (),
    accept_missing: Sequence[str] = (),
    overwrite: bool = False,
    source_settings: Mapping[str, str] | None = None,
    destination_settings: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> Movement:
    """Move what is new from `source` to `destination`, and return the Movement, settled.

    Each is a path, a URL, a plug-in such as `./tracker.py:exporter`, or an object of your own; an object needs a `flow` name
    or a stable `location`. `flow` names the connection between the two; by default the name is made from them. Without
    source and destination, the Flow of this name is moved as it is declared. `files` are
    a source and a destination directory that are moved with a database. `only`, `exclude` and
    `allow_deletes` are patterns of stream names: of those to move, to leave out, and to delete many records from.
    `accept_missing` are kinds of objects of the source, such as "view", that may be missing at the destination from now
    on. `overwrite` lets the first load of a stream overwrite records that the destination has already. `source_settings`
    and `destination_settings` are those of plug-ins, as texts. `settings` come from the environment by default. Raises a
    PipelineError that says what to do; the same call then carries on where this one stopped.
    """
    settings = settings or load_settings()
    ensure_kinds(accept_missing)
    given = PluginSettings(source_settings or {}, destination_settings or {})
    pair = await pair_to_move(source, destination, files, flow, settings, given)
    async with open_runtime(settings, create_home=True) as runtime:
        with runtime.lock(pair.name):
            await ensure_two_places(runtime, pair)
            async with runtime.flow_context(pair.name, reporter or SilentReporter()) as context:
                if accept_missing:
                    ends = pair.source.location, pair.destination.location
                    await runtime.flows.connect(pair.name, *ends, declared=given.declaration())
                    await runtime.flows.accept_missing(pair.name, accept_missing)
                helper = _helper(pair, settings)
                check = None
                if not overwrite and pair.copy is not None:
                    check = ExistingRows(runtime.flows, pair.name, pair.copy).ensure_kept
                stored = await find_flow(runtime, pair.name)
                ensure_checked(pair.name, local_paths(pair.destination.location), stored, settings)
                there = with_store(with_accepted(pair.destination, stored), runtime.store)
                here = with_accepted(pair.source, stored)
                mover = Mover(context, pair.name, here, there, worker_name(), helper, check)
                choices = make_choices(only, exclude, allow_deletes, settings, overwrite=overwrite)
                movement = await mover.run(choices, given.declaration())
                await maintain(context, pair.name, settings)
                return movement


def _helper(pair: Pair, settings: Settings) -> ImportHelper | None:
    """Return a subprocess for the import if it is wanted, has a CPU to run on, and can make the destination itself."""
    if pair.remake_destination is not None and settings.import_in_subprocess and has_spare_processor():
        return ImportHelper(pair.name, pair.remake_destination, settings)
    return None
