"""Flows without a Movement: two places connected, a further destination for what a Flow has stored, and bringing it there."""

from __future__ import annotations

from urllib.parse import unquote

from pipeline.assembly.connectors import BETWEEN_PARTS, flow_destination, read_pair
from pipeline.assembly.runtime import open_runtime, worker_name
from pipeline.connectors.locations import parse_location
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements.derived_flows import add_destination, derived_flows, is_behind
from pipeline.engine.movers.derived_mover import DerivedMover
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings


async def create_flow(
    name: str, source: str, destination: str, files: tuple[str, str] | None, settings: Settings
) -> Flow:
    """Connect two places under a name, and move nothing. ConfigurationError when the name connects others."""
    pair = read_pair(source, destination, files, name, settings.home.absolute())
    async with open_runtime(settings, create_home=True) as runtime:
        return await runtime.flows.connect(pair.name, pair.source.location, pair.destination.location)


async def add_flow_destination(
    of: str, destination: str, files: str | None, name: str | None, settings: Settings
) -> Flow:
    """Create a Flow that brings to `destination` what the Flow `of` has stored; `files` is where its files go."""
    async with open_runtime(settings) as runtime:
        origin = await runtime.flows.read_flow(FlowName(of))
        pair_files = _files_pair(origin, files)
        source = origin.source.split(BETWEEN_PARTS)[0]
        pair = read_pair(source, destination, pair_files, name, settings.home.absolute())
        return await add_destination(runtime.flows, runtime.clock, origin.name, pair.name, pair.destination.location)


def _files_pair(origin: Flow, files: str | None) -> tuple[str, str] | None:
    context = origin.source.split(BETWEEN_PARTS)
    if len(context) == 1:
        if files is not None:
            raise ConfigurationError(f"Flow {origin.name!r} has no files that go along: leave out --files.")
        return None
    if files is None:
        raise ConfigurationError(
            f"Flow {origin.name!r} moves files along with its database: name the directory for them with --files DIR."
        )
    path = parse_location(context[1]).path
    return (unquote(context[1]) if path is None else str(path), files)


async def import_flow(name: str, settings: Settings, reporter: Reporter) -> Movement:
    """Bring the destination of a Flow that shares up to date; return the Movement, settled. No source is opened."""
    async with open_runtime(settings) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        if flow.origin is None:
            raise ConfigurationError(f"Flow {name!r} has a source of its own: `pipeline move` moves it.")
        with runtime.lock(flow.name):
            async with runtime.flow_context(flow.name, reporter) as context:
                return await DerivedMover(context, flow.name, flow_destination(flow), worker_name()).run()


async def flows_behind(name: str, settings: Settings) -> list[Flow]:
    """Return the Flows that share what the Flow `name` has stored and do not have all of it yet."""
    async with open_runtime(settings) as runtime:
        derived = await derived_flows(runtime.flows, FlowName(name))
        return [flow for flow in derived if await is_behind(runtime.flows, flow)]
