"""What a declaration would change: makes the declared Flows, checks them, and compares them with the stored ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.assembly.apps.ends import is_plugin
from pipeline.assembly.apps.python_connector import plugins
from pipeline.assembly.commands.declared.table import flat, flow_table
from pipeline.assembly.commands.flows import ensure_two_places
from pipeline.assembly.connectors import Pair, flow_source, read_pair
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import Runtime
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import connector_with_settings
from pipeline.domain.errors import AbsentError, ConfigurationError, PipelineError
from pipeline.domain.flows.declaration import Declaration, quoted
from pipeline.domain.flows.groups import grouped, undeclared_problems
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Flow
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.source_checks import stored_streams
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.kit.places.parsing import parse_reference
from pipeline.settings.flow_file import FlowEntry

_FILE = re.compile(r".+\.py:\w+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of a Flow before and after; None where there is none."""

    name: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class FlowChange:
    """A Flow as it is declared, and how it differs from the stored one. `unchecked` says why its streams are not known."""

    flow: Flow
    is_new: bool
    differences: tuple[Difference, ...]
    unchecked: str = ""

    @property
    def kind(self) -> str:
        """What happens to the Flow: "create", "change" or "none"."""
        return "create" if self.is_new else "change" if self.differences else "none"


async def find_change(runtime: Runtime, entry: FlowEntry, base: Path | None) -> FlowChange:
    """Return what the declaration of a Flow would change. Paths begin at `base`.

    ConfigurationError names all that is wrong with the Flow, a line each.
    """
    try:
        pair = _read_pair(runtime, entry, base, PluginSettings.of(entry.declared))
        await ensure_two_places(runtime, pair)
    except ConfigurationError as error:
        raise ConfigurationError("\n".join([str(error), *await other_problems(runtime, entry, base)])) from error
    try:
        stored = await runtime.flows.read_flow(entry.name)
    except AbsentError:
        stored = None
    source, destination = pair.source.location, pair.destination.location
    before = stored or Flow(entry.name, source, destination, runtime.clock.now())
    wanted = replace(before, source=source, destination=destination, declared=entry.declared)
    if stored is not None:
        _ensure_same_places(entry, stored, wanted)
    problems, unchecked = await _problems(runtime, entry, wanted, pair)
    if problems:
        raise ConfigurationError("\n".join(problems))
    differences = _differences({} if stored is None else _table(stored), _table(wanted))
    return FlowChange(wanted, stored is None, differences, unchecked)


def _read_pair(runtime: Runtime, entry: FlowEntry, base: Path | None, given: PluginSettings) -> Pair:
    return read_pair(
        anchored(entry.source, base),
        anchored(entry.destination, base),
        (anchored(entry.files[0], base), anchored(entry.files[1], base)) if len(entry.files) == 2 else None,
        entry.name,
        runtime.settings,
        given,
    )


async def _problems(runtime: Runtime, entry: FlowEntry, flow: Flow, pair: Pair) -> tuple[Sequence[str], str]:
    """Return what is wrong with the streams, groups and endpoints of a Flow, and why its streams are not known, if so."""
    problems, unchecked = await _stream_problems(runtime, flow, pair.destinations[0])
    endpoints = (("", why) for why in await endpoint_problems(runtime, flow))
    return [f"{entry.where(table)}: {why}." for table, why in (*problems, *endpoints)], unchecked


async def other_problems(runtime: Runtime, entry: FlowEntry, base: Path | None) -> Sequence[str]:
    """Return what else is wrong with a Flow whose places or options are wrong, as far as it can be known without these."""
    plain = replace(entry.declared, source_options={}, destination_options={}, requires=None)
    flow = Flow(entry.name, entry.source, entry.destination, runtime.clock.now(), declared=plain)
    try:
        pair = _read_pair(runtime, entry, base, PluginSettings())
    except ConfigurationError:  # what is wrong with the places is said already
        return [f"{entry.where()}: {why}." for why in await endpoint_problems(runtime, flow)]
    located = replace(flow, source=pair.source.location, destination=pair.destination.location)
    return (await _problems(runtime, entry, located, pair))[0]


def anchored(text: str, base: Path | None) -> str:
    """Return a place as it is written in a file in the directory `base`: a relative path begins there."""
    if base is None or not text:
        return text
    if text.startswith("sqlite:///") and not text.startswith("sqlite:////"):
        return f"sqlite:///{base / text.removeprefix('sqlite:///')}"
    if (connector := connector_with_settings(text)) is not None and "://" not in text:
        return f"{connector.schemes[0]}:{base / text.partition(':')[2]}"
    if "://" in text or (not _FILE.fullmatch(text) and parse_reference(text) is not None):
        return text
    return f"{base / text}{'/' if text.endswith('/') else ''}"


def _ensure_same_places(entry: FlowEntry, stored: Flow, wanted: Flow) -> None:
    moved = stored.movements > 0 or stored.origin is not None
    for end in ("source", "destination"):
        before, after = getattr(stored, end), getattr(wanted, end)
        if moved and before != after:
            raise ConfigurationError(
                f"{entry.where()}: {end} is {after}, and the Flow has moved data of {before}. Declare the new place under "
                f"another name, or remove the Flow first with `pipeline flow remove`."
            )


async def _stream_problems(runtime: Runtime, flow: Flow, destination: object) -> tuple[Sequence[tuple[str, str]], str]:
    """Return what of the declared streams and groups names nothing, or why that cannot be known now."""
    if not flow.declared.streams and not flow.declared.groups:
        return (), ""
    try:
        async with flow_source(flow, runtime.settings).open_snapshot() as snapshot:
            schemas = grouped(await snapshot.streams(), flow.declared)
    except PipelineError as error:
        return (), str(error)
    return group_problems(schemas, flow.declared, destination, await stored_streams(runtime.flows, flow)), ""


async def endpoint_problems(runtime: Runtime, flow: Flow) -> Sequence[str]:
    """Return why endpoints that the Flow names get none of its events: they do not exist, or are for other Flows."""
    if not flow.declared.notifications:
        return ()
    known = {endpoint.name: endpoint for endpoint in await EndpointStore(runtime.store).list()}
    found: list[str] = []
    for name in flow.declared.notifications:
        if name not in known:
            found.append(
                f"notifications names the endpoint {name!r}, which does not exist. Add it with `pipeline notify add`"
            )
        elif not known[name].wants_flow(flow.name):
            found.append(
                f"notifications names the endpoint {name!r}, which is for other Flows. Add it for this one as well"
            )
    return found


def group_problems(
    schemas: Sequence[StreamSchema], declared: Declaration, destination: object, stored: Collection[StreamName]
) -> Sequence[tuple[str, str]]:
    """Return what of a declaration names nothing: the table, and a sentence.

    `schemas` have their declared labels; `stored` are the streams that the Flow has moved.
    """
    problems = list(undeclared_problems(schemas, declared, stored))
    untaken = untaken_streams([schema.stream for schema in schemas], destination)
    tables = {
        **{rule.label: f"group.{quoted(rule.label)}" for rule in declared.groups},
        **{rule.group: f"stream.{quoted(rule.pattern)}" for rule in declared.streams if rule.group and rule.include},
    }
    for label, table in tables.items():
        streams = [schema.stream for schema in schemas if schema.label == label]
        if streams and untaken.issuperset(streams):
            names = ", ".join(map(repr, streams[:5]))
            problems.append((table, f"nobody consumes the group {label!r}: the Importer has no handler for {names}"))
    return problems


def untaken_streams(streams: Sequence[StreamName], destination: object) -> frozenset[StreamName]:
    """Return the streams that a destination does not import: those for which an Importer has no handler."""
    if not isinstance(destination, Location) or not is_plugin(destination):
        return frozenset()
    found: frozenset[StreamName] = plugins().untaken(destination, streams)
    return found


def _table(flow: Flow) -> Mapping[str, object]:
    return dict(flat(flow_table(flow)))


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Difference, ...]:
    names = dict.fromkeys((*after, *before))
    changed = [name for name in names if before.get(name) != after.get(name)]
    return tuple(Difference(name, before.get(name), after.get(name)) for name in changed)
