"""Makes the Source and the Destination of a Flow from what a person wrote, or from what the Flow stores."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pipeline.assembly.apps.ends import Role, UploadsKept, is_app, is_plugin, with_accepted, with_store
from pipeline.assembly.apps.python_connector import plugins
from pipeline.assembly.place_checks import ensure_movable, exclusions
from pipeline.assembly.places.options import (
    PluginSettings,
    bare_url,
    check_destination_options,
    stored_place,
    with_source_options,
)
from pipeline.connectors.combined import CombinedDestination, CombinedSource
from pipeline.connectors.locations import Location, default_flow_name, path_location, split_urls
from pipeline.connectors.registry import (
    FILES,
    FILES_STREAM,
    ReadOptions,
    connector_with_settings,
    find_connector,
    make_destination,
    make_source,
    parse_location,
    register_connectors,
)
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.domain.schema import StreamSchema
from pipeline.engine.imports.existing_records import ExistingRecords, GuardExisting
from pipeline.engine.verify.existing_rows import StoredGuard
from pipeline.kit.places.parsing import names_nothing, parse_reference
from pipeline.kit.places.reference import SCHEME, list_plugins
from pipeline.paths import exists
from pipeline.ports.destination import Destination, DestinationSession
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import Source
from pipeline.settings import Settings

_AS_STORED = ReadOptions()
"""Reads what a Movement stores."""

PathText = str | os.PathLike[str]
"""A path, the URL of a location, or a plug-in such as `./tracker.py:exporter`."""

End = TypeVar("End", Source, Destination)

register_connectors(
    {
        SCHEME: "pipeline.assembly.apps.python_connector:PYTHON",
        "sam": "pipeline.assembly.apps.sam_connector:SAM",
        "app": "pipeline.assembly.apps.remote_connector:APP",
        **dict.fromkeys(("https", "http"), "pipeline.assembly.apps.remote_connector:SERVICE"),
    }
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The two ends of a Flow.

    `remake_destination` makes the destination in a subprocess; it is None for an object of the caller's own and for a
    plug-in, which one process opens once.
    `sources` and `destinations` are their parts. `copy` reads the destination, if both ends are places.
    """

    name: FlowName
    source: Source
    destination: Destination
    remake_destination: Callable[[], Destination] | None
    sources: Sequence[Location | Source]
    destinations: Sequence[Location | Destination]
    copy: Source | None


def read_pair(
    source: PathText | Source,
    destination: PathText | Destination,
    files: tuple[PathText, PathText] | None,
    flow: str | None,
    settings: Settings,
    given: PluginSettings | None = None,
) -> Pair:
    """Return the two ends. ConfigurationError when the one cannot be moved to the other.

    The home directory is left out of a directory tree: the pipeline does not move its own store.
    """
    given = given or PluginSettings()
    list_plugins(settings.plugins)
    here, settings, there = _read_ends(source, destination, settings, given)
    like = here if isinstance(here, Location) else None
    sources: list[Location | Source] = [here]
    destinations: list[Location | Destination] = [there]
    if files is not None:
        if is_app(here) or is_app(there):
            raise ConfigurationError(
                "--files cannot be given with a plug-in: its rows have Binary fields for contents."
            )
        if like is not None and not find_connector(like.scheme).is_database:
            raise ConfigurationError("--files adds a directory tree to a database, but the source is a directory tree.")
        sources.append(path_location(FILES.schemes[0], Path(files[0])))
        destinations.append(path_location(FILES.schemes[0], Path(files[1])))
    ensure_movable(sources, destinations, settings.home.absolute())
    if is_plugin(there):
        plugins().check_contract(here, there)
    name = FlowName(flow) if flow else default_flow_name(_named(here), _named(there))
    can_remake = isinstance(there, Location) and not is_app(there)
    remake = partial(_destination, destinations) if can_remake else None
    source_, destination_ = _source(sources, destinations, settings), _destination(destinations)
    copied = [end for end in destinations if isinstance(end, Location)]
    readable = all(isinstance(end, Location) for end in (*sources, *destinations)) and not is_app(there)
    copy = _source(copied, sources, replace(settings, one_file_system=False)) if readable else None
    return Pair(name, source_, destination_, remake, sources, destinations, copy)


def _read_ends(
    source: PathText | Source, destination: PathText | Destination, settings: Settings, given: PluginSettings
) -> tuple[Location | Source, Settings, Location | Destination]:
    """Return the two ends, and the settings with the options of the source. ConfigurationError names what is wrong at both."""
    errors: list[ConfigurationError] = []
    here = there = None
    try:
        here = _read_end(source, Role.SOURCE, given.source)
        settings = with_source_options(here, given.source, settings)
    except ConfigurationError as error:
        errors.append(error)
    try:
        like = here if isinstance(here, Location) else None
        there = _read_end(destination, Role.DESTINATION, given.destination, like)
        check_destination_options(there, given.destination)
    except ConfigurationError as error:
        errors.append(error)
    if len(errors) > 1:
        raise ConfigurationError("\n".join(map(str, errors)))
    if errors or here is None or there is None:
        raise errors[0]
    return here, settings, there


def _read_end(
    end: PathText | End, role: Role, given: Mapping[str, str], like: Location | None = None
) -> Location | End:
    """Return the place that a person has written; an object of the caller's own as it is."""
    if not isinstance(end, str | os.PathLike):
        return end
    text = os.fspath(end)
    if (connector := connector_with_settings(text)) is not None and connector.with_settings is not None:
        return connector.read(connector.with_settings(text, given))
    if (reference := parse_reference(text)) is not None:
        place: Location = plugins().place_of(reference, role, given, stored=text.startswith(f"{SCHEME}://"))
        return place
    if names_nothing(text):
        kind, new = ("Exporter", "") if role is Role.SOURCE else ("Importer", f" A new file of this name: ./{text}")
        raise ConfigurationError(
            f"There is neither a file {text}, nor an {kind} {text.partition(':')[0]} that is installed or in the setting "
            f"plugins. An {kind} in a file is written ./file.py:name.{new}"
        )
    return parse_location(text, like=like)


def copy_of_existing(pair: Pair, settings: Settings) -> Source | None:
    """Return what exists of the destination, to be read; None if nothing does, or if it cannot be read."""
    existing = [
        end for end in pair.destinations if isinstance(end, Location) and (end.path is None or exists(end.path))
    ]
    if pair.copy is None or not existing:
        return None
    return _source(existing, pair.sources, replace(settings, one_file_system=False))


def pair_of(flow: Flow, settings: Settings) -> Pair:
    """Return the two ends that a Flow stores. ConfigurationError when one was an object of a program."""
    (source, *files), (destination, *copies) = _urls(flow.source), _urls(flow.destination)
    both = (_path(files[0]), _path(copies[0])) if files and copies else None
    given = PluginSettings.of(flow.declared)
    source, destination = bare_url(source, given.source), bare_url(destination, given.destination)
    return read_pair(source, destination, both, flow.name, settings, given)


def _path(url: str) -> Path:
    path = parse_location(url).path
    assert path is not None
    return path


def flow_source(flow: Flow, settings: Settings, options: ReadOptions = _AS_STORED) -> Source:
    """Return the source that a Flow names. The password of a database comes from the environment or a pass file."""
    given = flow.declared.source_options
    here = _locations(flow.source, Role.SOURCE, given)
    source = _source(here, _locations(flow.destination), with_source_options(here[0], given, settings), options)
    return with_accepted(source, flow)


def export_source(flow: Flow, settings: Settings, store: ObjectStore) -> Source:
    """Return the source of the latest Movement of a Flow: of an app that uploads, what it has uploaded for this one."""
    source = flow_source(flow, settings)
    return source.of_movement(store, flow.name, flow.movements) if isinstance(source, UploadsKept) else source


def flow_destination(flow: Flow, store: ObjectStore) -> Destination:
    """Return the destination that a Flow names. If it keeps no marks itself, they are in `store`."""
    given = PluginSettings.of(flow.declared).destination
    destination = _destination(_locations(flow.destination, Role.DESTINATION, given))
    return with_store(with_accepted(destination, flow), store)


def readable_source(flow: Flow, settings: Settings) -> Source:
    """Return the source of a Flow, to be read and compared: the contents of files and generated columns are read."""
    return flow_source(flow, settings, ReadOptions(checksum=True, generated=True))


def readable_destination(flow: Flow, settings: Settings, *, generated: bool) -> Source:
    """Return the destination of a Flow, to be read and compared, as a whole: its mount points are its own."""
    there = _locations(flow.destination, Role.DESTINATION, PluginSettings.of(flow.declared).destination)
    options = ReadOptions(checksum=True, generated=generated, copy_of=flow.marks_namespace)
    return _source(there, _locations(flow.source), replace(settings, one_file_system=False), options)


def guard_existing(store: ObjectStore, settings: Settings) -> GuardExisting:
    """Return what an import asks before its first load of a stream. Nothing is known of what an app has."""

    def guard(flow: Flow, session: DestinationSession) -> ExistingRecords | None:
        if leads_to_app(flow):
            return None
        return StoredGuard(store, flow, session, readable_destination(flow, settings, generated=False))

    return guard


def leads_to_app(flow: Flow) -> bool:
    """Whether the destination of a Flow is an app, in Python or over HTTP."""
    return is_app(_locations(flow.destination, Role.DESTINATION, PluginSettings.of(flow.declared).destination)[0])


def ensure_fits(flow: Flow) -> None:
    """ConfigurationError when the Importer of a Flow does not fit its Exporter, or delivers less than the Flow needs."""
    given = PluginSettings.of(flow.declared)
    (there, *_) = _locations(flow.destination, Role.DESTINATION, given.destination)
    if is_plugin(there):
        (here, *_) = _locations(flow.source)
        plugins().check_contract(here, there)


def app_copy(flow: Flow, store: ObjectStore, schemas: Callable[[], Awaitable[Sequence[StreamSchema]]]) -> Source | None:
    """Return what the app of a Flow's Importer holds, to be compared; None if the destination is no app."""
    (location, *_) = _locations(flow.destination, Role.DESTINATION, PluginSettings.of(flow.declared).destination)
    if not is_plugin(location):
        return None
    copy: Source = plugins().make_copy(location, store, flow, schemas)
    return copy


def _locations(
    stored: str, role: Role = Role.SOURCE, given: Mapping[str, str] = MappingProxyType({})
) -> Sequence[Location]:
    """Return the places that a Flow stores; a plug-in with the secrets that `given` refers to."""
    return [stored_place(url, parse_location(url), role, given) for url in _urls(stored)]


def _urls(stored: str) -> Sequence[str]:
    """Read what a Flow stores. A text that is no URL was made of an object: read as a path, it would open another place."""
    urls = split_urls(stored)
    for url in urls:
        if "://" not in url:
            raise ConfigurationError(f"{url!r} is no URL, but an object of a program. Only that program can open it.")
    return urls


def _named(end: Location | Source | Destination) -> Location:
    return end if isinstance(end, Location) else Location("app", end.location)


def _source(
    parts: Sequence[Location | Source],
    others: Sequence[Location | Source | Destination],
    settings: Settings,
    options: ReadOptions = _AS_STORED,
) -> Source:
    """Return `parts` as one source, which does not give what the pipeline uses itself, here or at the `others`."""
    exclude = exclusions(parts, others, settings.home.absolute())
    options = replace(options, exclude=exclude, one_file_system=settings.one_file_system, grants=settings.grants)
    sources = [make_source(part, options) if isinstance(part, Location) else part for part in parts]
    return sources[0] if len(sources) == 1 else CombinedSource(sources)


def _destination(parts: Sequence[Location | Destination]) -> Destination:
    made = [make_destination(part) if isinstance(part, Location) else part for part in parts]
    return made[0] if len(made) == 1 else CombinedDestination(made[0], {FILES_STREAM: made[1]})
