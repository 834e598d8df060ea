"""What a person named becomes a Source and a Destination."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.connectors.combined import CombinedDestination, CombinedSource
from pipeline.connectors.locations import Location, Technology, default_flow_name, parse_location, path_location
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Flow
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source

if TYPE_CHECKING:
    from types import ModuleType

FILES_STREAM = StreamName("@files")
BETWEEN_PARTS = " + "
"""Stands between the URLs of a combined place. A URL holds no space, so it can be read back."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two ends of a Flow."""

    name: FlowName
    source: Source
    destination: Destination


def read_pair(
    source: str, destination: str, files: tuple[str, str] | None, flow: str | None, home: Path | None
) -> Pair:
    """Read what a person typed for both ends. ConfigurationError where they do not go together.

    `home` is left out of a tree of files: the pipeline does not move its own memory.
    """
    one = parse_location(source)
    other = parse_location(destination, like=one.technology)
    if one.is_database is not other.is_database:
        raise ConfigurationError(f"{one.url} cannot be moved to {other.url}: one is a database, one a directory.")
    sources, destinations = [one], [other]
    if files is not None:
        if not one.is_database:
            raise ConfigurationError("--files goes along with a database; here the source is a directory already.")
        sources.append(path_location(Technology.FILES, Path(files[0])))
        destinations.append(path_location(Technology.FILES, Path(files[1])))
    for here, there in zip(sources, destinations, strict=True):
        _check_apart(here, there)
    _check_database_is_no_file(sources, destinations)
    name = FlowName(flow) if flow else default_flow_name(one, other)
    return Pair(name, _source(sources, home), _destination(destinations))


def flow_source(flow: Flow, home: Path | None) -> Source:
    """Return the source that a Flow names. A database's password comes from the environment or a pass file."""
    return _source(_locations(flow.source), home)


def flow_destination(flow: Flow) -> Destination:
    """Return the destination that a Flow names."""
    return _destination(_locations(flow.destination))


def readable_place(urls: str, home: Path | None) -> Source:
    """Return a Flow's source or destination to be read and compared: of files, the contents count."""
    return _source(_locations(urls), home, checksum=True)


def _locations(urls: str) -> Sequence[Location]:
    return [parse_location(url) for url in urls.split(BETWEEN_PARTS)]


def _check_apart(source: Location, destination: Location) -> None:
    if source.path is None or destination.path is None:
        same, within = source.url == destination.url, False
    else:
        one, other = source.path.resolve(), destination.path.resolve()
        same = one == other
        within = not source.is_database and (one.is_relative_to(other) or other.is_relative_to(one))
    if same:
        raise ConfigurationError(f"{source.url} is source and destination at once. Name another destination.")
    if within:
        raise ConfigurationError(f"{source.url} and {destination.url} lie within each other. Name another destination.")


def _check_database_is_no_file(sources: Sequence[Location], destinations: Sequence[Location]) -> None:
    """ConfigurationError where a file that goes along would be written over the destination's database."""
    moved = {file.resolve() for source in sources for file in _files_of_database(source)}
    for database in destinations:
        for place in _files_of_database(database):
            for here, there in zip(sources[1:], destinations[1:], strict=True):
                if here.path is None or there.path is None or not place.resolve().is_relative_to(there.path.resolve()):
                    continue
                file = here.path / place.resolve().relative_to(there.path.resolve())
                if file.exists() and file.resolve() not in moved:
                    raise ConfigurationError(
                        f"{file} would be written to {place}, which is the destination's database. "
                        "Name another database, or another directory for the files."
                    )


def _source(locations: Sequence[Location], home: Path | None, *, checksum: bool = False) -> Source:
    exclude = [] if home is None else [home]
    exclude += [file for location in locations for file in _files_of_database(location)]
    parts = [_one_source(location, exclude, checksum=checksum) for location in locations]
    return parts[0] if len(parts) == 1 else CombinedSource(parts)


def _files_of_database(location: Location) -> list[Path]:
    """Return the files of an SQLite database, which are left out of a tree of files that goes along with it.

    It is moved as a database. To read it as a file besides would give up its locks: a process loses all it has on a file
    as soon as it closes one descriptor of it (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    if location.path is None or location.technology is not Technology.SQLITE:
        return []
    return [location.path.with_name(location.path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def _one_source(location: Location, exclude: Sequence[Path], *, checksum: bool = False) -> Source:
    """Return a source. Each connector takes a while to import, and a driver that is an extra."""
    if location.path is None:
        source: Source = _postgres().PostgresSource(location.typed)
        return source
    if location.technology is Technology.SQLITE:
        from pipeline.connectors.sqlite import SqliteSource

        return SqliteSource(location.path)
    from pipeline.connectors.files import FilesSource

    return FilesSource(location.path, stream=FILES_STREAM, checksum=checksum, exclude=exclude)


def _destination(locations: Sequence[Location]) -> Destination:
    parts = [_one_destination(location) for location in locations]
    return parts[0] if len(parts) == 1 else CombinedDestination(parts[0], {FILES_STREAM: parts[1]})


def _one_destination(location: Location) -> Destination:
    if location.path is None:
        destination: Destination = _postgres().PostgresDestination(location.typed)
        return destination
    if location.technology is Technology.SQLITE:
        from pipeline.connectors.sqlite import SqliteDestination

        return SqliteDestination(location.path)
    from pipeline.connectors.files import FilesDestination

    return FilesDestination(location.path)


def _postgres() -> ModuleType:
    """Import the connector, and name its driver when that is not installed."""
    try:
        return importlib.import_module("pipeline.connectors.postgres")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"postgresql:// needs {error.name}. Install it with: pip install 'app-data-pipeline[postgres]'"
        ) from error
