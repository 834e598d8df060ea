"""Settings to ready-made programs: the only place that knows both the engine and the adapters."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.connectors.combined import CombinedDestination, CombinedSource
from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.locations import Location, Technology, default_flow_name, parse_location
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import EventFileId, FlowName, StreamName, encode_name
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.flows import FlowStore
from pipeline.engine.mover import Mover
from pipeline.engine.parts import EngineParts, Limits
from pipeline.ports.clock import Clock
from pipeline.ports.destination import Destination, Mark
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Reporter
from pipeline.ports.source import Source
from pipeline.queues.sqlite import SqliteEventQueue
from pipeline.settings import Settings
from pipeline.stores.directory import DirectoryObjectStore
from pipeline.stores.flow_lock import hold_flow_lock

FILES_STREAM = StreamName("@files")


class SystemClock:
    """The computer's own time of day."""

    def now(self) -> datetime:
        """The present moment."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Home:
    """The embedded store, and the Flows in it."""

    path: Path
    store: ObjectStore
    flows: FlowStore
    clock: Clock


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """What `pipeline move` was asked for. `files` are a source and a destination directory that go along."""

    source: str
    destination: str
    flow: str | None = None
    files: tuple[str, str] | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@asynccontextmanager
async def open_home(settings: Settings) -> AsyncIterator[Home]:
    """Open the home directory. It is made when something is first written to it."""
    clock = SystemClock()
    store = DirectoryObjectStore(settings.home / "store")
    yield Home(settings.home, store, FlowStore(store, clock), clock)


async def move(request: MoveRequest, settings: Settings, reporter: Reporter) -> Movement:
    """Move once and return the Movement, settled. Raises a PipelineError that a person can act on."""
    pair = _read_request(request, settings.home.absolute())
    _make_home(settings.home)
    async with open_home(settings) as home:
        with hold_flow_lock(settings.home / "locks" / f"{encode_name(pair.name)[:200]}.lock", pair.name):
            queue = SqliteEventQueue(
                settings.home / "queue.db",
                name=f"imports:{pair.name}",
                visibility_seconds=settings.queue_visibility_seconds,
                max_receives=settings.queue_max_receives,
            )
            async with queue:
                parts = EngineParts(home.store, queue, home.clock, reporter, home.flows, _limits(settings))
                mover = Mover(parts, pair.name, pair.source, pair.destination, f"{socket.gethostname()}:{os.getpid()}")
                return await mover.run(only=request.only, exclude=request.exclude)


async def imported_marks(flow: Flow) -> Mapping[EventFileId, Mark] | None:
    """Ask a Flow's destination what it has imported; None when it is not there."""
    locations = [parse_location(url) for url in flow.destination.split(" + ")]
    if not all(location.path.exists() for location in locations):
        return None
    async with _destination(locations).open(flow.name) as session:
        return await session.marks()


@dataclass(frozen=True, slots=True)
class _Pair:
    name: FlowName
    source: Source
    destination: Destination


def _read_request(request: MoveRequest, home: Path) -> _Pair:
    source = parse_location(request.source)
    destination = parse_location(request.destination, like=source.technology)
    if source.technology is not destination.technology:
        raise ConfigurationError(
            f"{source.url} cannot be moved to {destination.url}: one is a database, one a directory."
        )
    sources, destinations = [source], [destination]
    if request.files is not None:
        if source.technology is Technology.FILES:
            raise ConfigurationError("--files goes along with a database; here the source is a directory already.")
        sources.append(Location(Technology.FILES, Path(request.files[0]).absolute()))
        destinations.append(Location(Technology.FILES, Path(request.files[1]).absolute()))
    for one, other in zip(sources, destinations, strict=True):
        _check_apart(one, other)
    name = FlowName(request.flow) if request.flow else default_flow_name(source, destination)
    return _Pair(name, _source(sources, home), _destination(destinations))


def _check_apart(source: Location, destination: Location) -> None:
    one, other = source.path.resolve(), destination.path.resolve()
    if one == other:
        raise ConfigurationError(f"{source.url} is source and destination at once. Name another destination.")
    if source.technology is Technology.FILES and (one.is_relative_to(other) or other.is_relative_to(one)):
        raise ConfigurationError(f"{source.url} and {destination.url} lie within each other. Name another destination.")


def _source(locations: list[Location], home: Path) -> Source:
    parts: list[Source] = [
        SqliteSource(location.path)
        if location.technology is Technology.SQLITE
        else FilesSource(location.path, stream=FILES_STREAM, exclude=[home])
        for location in locations
    ]
    return parts[0] if len(parts) == 1 else CombinedSource(parts)


def _destination(locations: list[Location]) -> Destination:
    parts: list[Destination] = [
        SqliteDestination(location.path)
        if location.technology is Technology.SQLITE
        else FilesDestination(location.path)
        for location in locations
    ]
    return parts[0] if len(parts) == 1 else CombinedDestination(parts[0], {FILES_STREAM: parts[1]})


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigurationError(f"{home} is a file; --home needs a directory.") from None
    except OSError as error:
        raise RefusedError(f"{home} cannot be made: {error.strerror}. Choose another place with --home.") from error


def _limits(settings: Settings) -> Limits:
    return Limits(
        event_file_bytes=settings.event_file_bytes,
        event_file_rows=settings.event_file_rows,
        zstd_level=settings.zstd_level,
        importers=settings.importers,
        visibility_seconds=settings.queue_visibility_seconds,
        sweep_seconds=settings.sweep_seconds,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        lifetime_seconds=settings.lifetime_seconds,
        progress_seconds=settings.progress_seconds,
    )
