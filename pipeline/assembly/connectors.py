"""Makes the Source and the Destination of a Flow from what a person wrote, or from what the Flow stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.connectors.combined import CombinedDestination, CombinedSource
from pipeline.connectors.locations import Location, default_flow_name, path_location, split_urls
from pipeline.connectors.registry import (
    FILES,
    FILES_STREAM,
    ReadOptions,
    find_connector,
    make_destination,
    make_source,
    parse_location,
)
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source
from pipeline.settings import Settings

PathText = str | os.PathLike[str]
"""A path, or the URL of a location."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two ends of a Flow.

    `remake_destination` makes the destination in a subprocess; it is None for an object of the caller's own.
    """

    name: FlowName
    source: Source
    destination: Destination
    remake_destination: Callable[[], Destination] | None


def read_pair(
    source: PathText | Source,
    destination: PathText | Destination,
    files: tuple[PathText, PathText] | None,
    flow: str | None,
    settings: Settings,
) -> Pair:
    """Return the two ends. ConfigurationError when the one cannot be moved to the other.

    The home directory is left out of a directory tree: the pipeline does not move its own store.
    """
    here = parse_location(os.fspath(source)) if isinstance(source, str | os.PathLike) else source
    like = here if isinstance(here, Location) else None
    there = (
        parse_location(os.fspath(destination), like=like) if isinstance(destination, str | os.PathLike) else destination
    )
    sources: list[Location | Source] = [here]
    destinations: list[Location | Destination] = [there]
    if files is not None:
        if like is not None and not find_connector(like.scheme).is_database:
            raise ConfigurationError("--files adds a directory tree to a database, but the source is a directory tree.")
        sources.append(path_location(FILES.schemes[0], Path(files[0])))
        destinations.append(path_location(FILES.schemes[0], Path(files[1])))
    _ensure_movable(sources, destinations)
    name = FlowName(flow) if flow else default_flow_name(_named(here), _named(there))
    remake = partial(_destination, destinations) if isinstance(there, Location) else None
    return Pair(name, _source(sources, settings), _destination(destinations), remake)


def flow_source(flow: Flow, settings: Settings) -> Source:
    """Return the source that a Flow names. The password of a database comes from the environment or a pass file."""
    return _source(_locations(flow.source), settings)


def flow_destination(flow: Flow) -> Destination:
    """Return the destination that a Flow names."""
    return _destination(_locations(flow.destination))


def readable_source(flow: Flow, settings: Settings) -> Source:
    """Return the source of a Flow, to be read and compared: the contents of files are read."""
    return _source(_locations(flow.source), settings, checksum=True)


def readable_destination(flow: Flow, settings: Settings) -> Source:
    """Return the destination of a Flow, to be read and compared, as a whole: its mount points are its own."""
    return _source(_locations(flow.destination), replace(settings, one_file_system=False), checksum=True)


def _locations(stored: str) -> Sequence[Location]:
    """Read what a Flow stores. What is not a URL was an object: to read it as a path would open another place."""
    urls = split_urls(stored)
    for url in urls:
        if "://" not in url:
            raise ConfigurationError(f"{url!r} is no URL, but an object of a program. Only that program can open it.")
    return [parse_location(url) for url in urls]


def _named(end: Location | Source | Destination) -> Location:
    return end if isinstance(end, Location) else Location("app", end.location)


def _source(parts: Sequence[Location | Source], settings: Settings, *, checksum: bool = False) -> Source:
    own_files = [file for part in parts if isinstance(part, Location) for file in _files_of(part)]
    options = ReadOptions(
        (settings.home.absolute(), *own_files), checksum=checksum, one_file_system=settings.one_file_system
    )
    sources = [make_source(part, options) if isinstance(part, Location) else part for part in parts]
    return sources[0] if len(sources) == 1 else CombinedSource(sources)


def _destination(parts: Sequence[Location | Destination]) -> Destination:
    made = [make_destination(part) if isinstance(part, Location) else part for part in parts]
    return made[0] if len(made) == 1 else CombinedDestination(made[0], {FILES_STREAM: made[1]})


def _files_of(location: Location) -> Sequence[Path]:
    return find_connector(location.scheme).files(location)


def _ensure_movable(sources: Sequence[Location | Source], destinations: Sequence[Location | Destination]) -> None:
    pairs = [
        (here, there)
        for here, there in zip(sources, destinations, strict=True)
        if isinstance(here, Location) and isinstance(there, Location)
    ]
    for here, there in pairs:
        _ensure_same_kind(here, there)
        _ensure_disjoint(here, there)
    if len(pairs) > 1:
        _ensure_database_is_no_file(*pairs[0], *pairs[1])


def _ensure_same_kind(source: Location, destination: Location) -> None:
    if find_connector(source.scheme).is_database is not find_connector(destination.scheme).is_database:
        raise ConfigurationError(
            f"{source.url} cannot be moved to {destination.url}: one is a database, the other a directory tree."
        )


def _ensure_disjoint(source: Location, destination: Location) -> None:
    same, nested = source.url == destination.url, False
    if source.path is not None and destination.path is not None:
        one, other = source.path.resolve(), destination.path.resolve()
        same = one == other
        is_tree = not find_connector(source.scheme).is_database
        nested = is_tree and (one.is_relative_to(other) or other.is_relative_to(one))
    if same:
        raise ConfigurationError(f"{source.url} is source and destination at once. Name another destination.")
    if nested:
        raise ConfigurationError(f"Of {source.url} and {destination.url} one contains the other. Name another one.")


def _ensure_database_is_no_file(
    source: Location, destination: Location, files_from: Location, files_to: Location
) -> None:
    """Check that no file of the tree would be written over the destination's database."""
    assert files_from.path is not None
    assert files_to.path is not None
    moved = {file.resolve() for file in _files_of(source)}
    tree = files_to.path.resolve()
    for file in _files_of(destination):
        if not file.resolve().is_relative_to(tree):
            continue
        overwriting = files_from.path / file.resolve().relative_to(tree)
        if overwriting.exists() and overwriting.resolve() not in moved:
            raise ConfigurationError(
                f"{overwriting} would be written to {file}, which is the destination's database. "
                "Name another database, or another directory for the files."
            )
