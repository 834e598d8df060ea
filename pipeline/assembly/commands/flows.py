"""`pipeline flow`: creates Flows without moving, adds destinations to them, and imports into those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from shlex import quote

from pipeline.assembly.commands.maintenance.automatic import maintain
from pipeline.assembly.connectors import Pair, PathText, flow_destination, guard_existing, pair_of, read_pair
from pipeline.assembly.place_checks import can_be_identified, ensure_distinct, ensure_home_outside_trees
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import Runtime, open_runtime, worker_name
from pipeline.connectors.locations import split_urls
from pipeline.connectors.registry import parse_location
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements.derived_flows import add_destination, derived_flows, is_behind
from pipeline.engine.movers.derived_mover import DerivedMover
from pipeline.ports.destination import Destination
from pipeline.ports.reporter import Reporter, SilentReporter
from pipeline.ports.source import Source
from pipeline.settings import Settings, load_settings


async def flows(*, settings: Settings | None = None) -> Sequence[Flow]:
    """Return all Flows, by name."""
    async with open_runtime(settings or load_settings()) as runtime:
        return await runtime.flows.list_flows()


async def create_flow(
    name: str,
    source: PathText | Source,
    destination: PathText | Destination,
    *,
    files: tuple[PathText, PathText] | None = None,
    source_settings: Mapping[str, str] | None = None,
    destination_settings: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Flow:
    """Create the Flow `name` from `source` to `destination`. Nothing is moved.

    A Flow that exists with the same source and destination is returned; ConfigurationError if it has others.
    """
    settings = settings or load_settings()
    given = PluginSettings(source_settings or {}, destination_settings or {})
    pair = read_pair(source, destination, files, name, settings, given)
    async with open_runtime(settings, create_home=True) as runtime:
        await ensure_two_places(runtime, pair)
        source, destination = pair.source.location, pair.destination.location
        new = Flow(pair.name, source, destination, runtime.clock.now(), declared=given.declaration())
        await runtime.flows.add(new)
        return await runtime.flows.connect(pair.name, source, destination)


async def pair_to_move(
    source: PathText | Source | None,
    destination: PathText | Destination | None,
    files: tuple[PathText, PathText] | None,
    flow: str | None,
    settings: Settings,
    given: PluginSettings,
) -> Pair:
    """Return the two ends that a person names, or those of the Flow `flow` when no place is named."""
    if source is not None and destination is not None:
        return read_pair(source, destination, files, flow, settings, given)
    if source is not None or destination is not None or flow is None:
        raise ConfigurationError("Name a source and a destination, or a Flow that is declared with --flow NAME alone.")
    if files or given.source or given.destination:
        raise ConfigurationError(
            f"Flow {flow!r} is moved as it is declared: leave out --files, --source-set and --destination-set, or change it "
            f"with `pipeline flow set`."
        )
    async with open_runtime(settings) as runtime:
        declared = await runtime.flows.read_flow(FlowName(flow))
    if declared.origin is not None:
        raise ConfigurationError(
            f"Flow {flow!r} imports what Flow {declared.origin!r} has stored: use `pipeline flow import`."
        )
    return pair_of(declared, settings)


async def ensure_two_places(runtime: Runtime, pair: Pair) -> None:
    """ConfigurationError when both ends of a Flow that does not exist yet are one database under two URLs."""
    if can_be_identified(pair.sources, pair.destinations) and not await runtime.flows.exists(pair.name):
        await ensure_distinct(pair.sources, pair.destinations)


async def add_flow_destination(
    origin: str,
    destination: PathText | Destination,
    *,
    name: str | None = None,
    files: PathText | None = None,
    destination_settings: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Flow:
    """Create a derived Flow, which imports into `destination` what the Flow `origin` has stored.

    `files` is the directory for the files that `origin` moves with a database; `destination_settings` are those of an
    Importer.
    """
    async with open_runtime(settings or load_settings()) as runtime:
        flow = await runtime.flows.read_flow(FlowName(origin))
        source, *more = split_urls(flow.source)
        given = PluginSettings(PluginSettings.of(flow.declared).source, destination_settings or {})
        pair = read_pair(source, destination, _files_pair(flow, more, files), name, runtime.settings, given)
        ensure_home_outside_trees(pair.destinations, runtime.home)
        await ensure_two_places(runtime, pair)
        return await add_destination(
            runtime.flows, runtime.clock, flow.name, pair.name, pair.destination.location, given.declaration()
        )


def _files_pair(origin: Flow, urls: Sequence[str], files: PathText | None) -> tuple[PathText, PathText] | None:
    if not urls:
        if files is not None:
            raise ConfigurationError(f"Flow {origin.name!r} moves no files with its database: leave out --files.")
        return None
    if files is None:
        raise ConfigurationError(
            f"Flow {origin.name!r} moves files with its database: name the directory for them with --files DIR."
        )
    path = parse_location(urls[0]).path
    assert path is not None
    return path, files


async def import_flow(
    name: str, *, overwrite: bool = False, settings: Settings | None = None, reporter: Reporter | None = None
) -> Movement:
    """Bring the destination of a derived Flow up to date and return the Movement, settled. No source is opened.

    `overwrite` is as of `move`.
    """
    async with open_runtime(settings or load_settings()) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        if flow.origin is None:
            raise ConfigurationError(
                f"Flow {name!r} has a source of its own: move it with `pipeline move --flow {quote(name)}`."
            )
        async with runtime.flow_context(flow.name, reporter or SilentReporter()) as context:
            with runtime.lock(flow.name):
                destination = flow_destination(flow, runtime.store)
                guard = guard_existing(runtime.store, runtime.settings)
                mover = DerivedMover(context, flow.name, destination, worker_name(), guard, overwrite=overwrite)
                movement = await mover.run()
            with ExitStack() as held:
                try:
                    held.enter_context(runtime.lock(flow.origin))
                except ConfigurationError:  # who holds it maintains it
                    return movement
                await maintain(context, flow.origin, runtime.settings)
            return movement


async def flows_behind(origin: str, *, settings: Settings | None = None) -> Sequence[Flow]:
    """Return the derived Flows of `origin` whose destinations do not have all that it has stored."""
    async with open_runtime(settings or load_settings()) as runtime:
        derived = await derived_flows(runtime.flows, FlowName(origin))
        return [flow for flow in derived if await is_behind(runtime.flows, flow)]
