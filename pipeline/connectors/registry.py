"""The connectors, by the scheme of their URLs: those built in, and those that other packages add.

A package adds one with an entry point in the group `app_data_pipeline.connectors`, named like the scheme, which refers to
a `Connector`. It is loaded when a location of that scheme is used. Drivers are imported when a source or destination is
created: some are extras, and all take time.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.connectors.locations import Location, path_location, read_path_url, read_server_url, split_url
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.ports.checks import PlaceFacts
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source

ENTRY_POINT_GROUP = "app_data_pipeline.connectors"
_Made = TypeVar("_Made")

FILES_STREAM = StreamName("@files")
"""The stream of a directory tree."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a source is read. `checksum` compares contents of files, not their times.

    `exclude` are paths to leave out, each with the item to report when it exists.

    `one_file_system`: a tree ends at mount points. `generated`: generated columns are read like others, to be compared;
    no Movement stores them. `grants`: owners and privileges of a database are moved. `copy_of`: the place is the copy of
    this Flow, and definitions that it writes in another way than the source are those of the source.
    """

    exclude: Mapping[Path, InventoryItem] = field(default_factory=dict)
    checksum: bool = False
    one_file_system: bool = False
    generated: bool = False
    grants: bool = False
    copy_of: FlowName | None = None


def no_files(location: Location) -> Sequence[Path]:
    """Return no path: for a place that does not consist of files."""
    return ()


@dataclass(frozen=True, slots=True)
class Connector:
    """How places of one technology are read and written.

    `schemes` are those of its URLs; the first is the canonical one. `is_database` says whether it holds tables, not
    files: only like can be moved to like. `read` makes a Location of a URL. `source` and `destination` do no I/O. `extra`
    is the extra of this distribution to install if the driver is missing. `files` are the paths that make up a place;
    they are left out of a directory tree that is moved with it. `identify` asks a place which it is, whatever its URL.
    `probe` asks a destination what it tells before it is written to.
    `with_settings` adds options to a URL; with it, a place may be written as `scheme:place`, without slashes.
    """

    name: str
    schemes: tuple[str, ...]
    is_database: bool
    read: Callable[[str], Location]
    source: Callable[[Location, ReadOptions], Source]
    destination: Callable[[Location], Destination]
    extra: str = ""
    files: Callable[[Location], Sequence[Path]] = no_files
    identify: Callable[[Location], Awaitable[str]] | None = None
    probe: Callable[[Location], Awaitable[PlaceFacts]] | None = None
    with_settings: Callable[[str, Mapping[str, str]], str] | None = None


def _connector_module(name: str) -> Any:
    return importlib.import_module(f"pipeline.connectors.{name}")


def _sqlite_files(location: Location) -> Sequence[Path]:
    """Return the files of a database.

    They must not be read as files of a tree in the same process: it would give up SQLite's locks on a file with the first
    descriptor of it that it closes (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    path = location.path
    assert path is not None
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


SQLITE = Connector(
    name="SQLite",
    schemes=("sqlite",),
    is_database=True,
    read=lambda url: read_path_url("sqlite", url, may_be_relative=True),
    source=lambda location, options: _connector_module("sqlite").SqliteSource(
        location.path, generated=options.generated
    ),
    destination=lambda location: _connector_module("sqlite").SqliteDestination(location.path),
    probe=lambda location: _connector_module("sqlite.probe").probe(location.path),
    files=_sqlite_files,
)
POSTGRESQL = Connector(
    name="PostgreSQL",
    schemes=("postgresql", "postgres"),
    is_database=True,
    read=lambda url: read_server_url("postgresql", url),
    source=lambda location, options: _connector_module("postgres").PostgresSource(
        location.written, generated=options.generated, grants=options.grants, copy_of=options.copy_of
    ),
    destination=lambda location: _connector_module("postgres").PostgresDestination(location.written),
    extra="postgres",
    identify=lambda location: _connector_module("postgres").identify(location.written),
    probe=lambda location: _connector_module("postgres.session.probe").probe(location.written),
)
FILES = Connector(
    name="directory tree",
    schemes=("file",),
    is_database=False,
    read=lambda url: read_path_url("file", url, may_be_relative=False),
    source=lambda location, options: _connector_module("files").FilesSource(
        location.path,
        stream=FILES_STREAM,
        checksum=options.checksum,
        exclude=options.exclude,
        one_file_system=options.one_file_system,
    ),
    destination=lambda location: _connector_module("files").FilesDestination(location.path),
    probe=lambda location: _connector_module("files.probe").probe(location.path),
)
BUILT_IN: Mapping[str, Connector] = {
    scheme: connector for connector in (FILES, POSTGRESQL, SQLITE) for scheme in connector.schemes
}
_registered: dict[str, str] = {}


def register_connectors(references: Mapping[str, str]) -> None:
    """Add connectors that are made of more than this package may know: for each scheme, the `module:name` of its Connector.

    The module is imported when the scheme is used.
    """
    _registered.update(references)


def _find_registered(scheme: str) -> Connector | None:
    if scheme not in _registered:
        return None
    module, _, name = _registered[scheme].partition(":")
    connector: Connector = getattr(importlib.import_module(module), name)
    return connector


def find_connector(scheme: str) -> Connector:
    """Return the connector of a scheme. ConfigurationError names the schemes that there are."""
    if known := BUILT_IN.get(scheme) or _find_registered(scheme):
        return known
    from importlib.metadata import entry_points

    added = entry_points(group=ENTRY_POINT_GROUP)
    for entry in added.select(name=scheme):
        try:
            connector = entry.load()
        except Exception as error:
            raise ConfigurationError(f"The connector for {scheme}:// cannot be loaded: {error}") from error
        if not isinstance(connector, Connector):
            raise ConfigurationError(f"The connector for {scheme}://, {entry.value}, is not a pipeline.Connector.")
        return connector
    supported = ", ".join(sorted({connector.schemes[0] for connector in BUILT_IN.values()} | added.names))
    raise ConfigurationError(f"unsupported URL scheme {scheme[:80]!r}; supported: {supported}")


def connector_with_settings(text: str) -> Connector | None:
    """Return the connector of a place that is written as `scheme:place` and takes settings; None for any other text."""
    scheme, colon, _ = text.partition(":")
    connector = _find_registered(scheme) if colon else None
    return connector if connector is not None and connector.with_settings is not None else None


def parse_location(text: str, *, like: Location | None = None) -> Location:
    """Read a URL or a bare path. ConfigurationError says what is wrong with it.

    A bare path to a directory, or one that ends in a slash, is a directory tree; any other is an SQLite database. A path
    that does not exist is what `like` is, of which it will be a copy.
    """
    if not _is_possible(text):
        raise ConfigurationError(f"{text[:200]!r} has a character that no path or URL can have.")
    if (connector := connector_with_settings(text)) is not None:
        return connector.read(text)
    if "://" in text:
        return find_connector(split_url(text).scheme).read(text)
    if not text:
        raise ConfigurationError("A location is empty. Give a path, or a URL such as sqlite:///app.db or file:///dir/.")
    path = Path(text).absolute()
    try:
        is_directory, exists = path.is_dir() or text.endswith("/"), path.exists()
    except OSError as error:
        raise ConfigurationError(f"{text[:200]!r} cannot be read: {error.strerror}.") from error
    if is_directory or (not exists and like is not None and like.scheme == FILES.schemes[0]):
        return path_location(FILES.schemes[0], path)
    return path_location(SQLITE.schemes[0], path)


def make_source(location: Location, options: ReadOptions) -> Source:
    """Return the Source of a location. ConfigurationError when its driver is not installed."""
    connector = find_connector(location.scheme)
    return _with_driver(connector, lambda: connector.source(location, options))


def make_destination(location: Location) -> Destination:
    """Return the Destination of a location. ConfigurationError when its driver is not installed."""
    connector = find_connector(location.scheme)
    return _with_driver(connector, lambda: connector.destination(location))


def _with_driver(connector: Connector, make: Callable[[], _Made]) -> _Made:
    try:
        return make()
    except ModuleNotFoundError as error:
        extra = f"app-data-pipeline[{connector.extra}]" if connector.extra else error.name
        raise ConfigurationError(
            f"{connector.schemes[0]}:// needs {error.name}. Install it with: pip install '{extra}'"
        ) from error


def _is_possible(text: str) -> bool:
    """Whether the system could pass `text` as an argument. Lone surrogates and NUL can come from elsewhere."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
