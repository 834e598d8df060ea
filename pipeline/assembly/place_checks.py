"""Checks of the two ends of a Flow: they are two places of one kind, and what the pipeline itself uses is in neither tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.connectors.locations import Location
from pipeline.connectors.registry import find_connector
from pipeline.domain.errors import ConfigurationError, PipelineError
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.log_events import log
from pipeline.paths import exists
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source

Part = Location | Source | Destination

_SQLITE_HEADER = b"SQLite format 3\0"


def ensure_movable(sources: Sequence[Part], destinations: Sequence[Part], home: Path) -> None:
    """ConfigurationError when the sources cannot be moved to the destinations without damage to either, or to `home`."""
    pairs = _pairs(sources, destinations)
    for here, there in pairs:
        _ensure_same_kind(here, there)
        _ensure_disjoint(here, there)
        for place in (here, there):
            _ensure_outside(place, home)
    if len(pairs) > 1:
        _ensure_database_is_no_file(*pairs[0], *pairs[1])


async def ensure_distinct(sources: Sequence[Part], destinations: Sequence[Part]) -> None:
    """ConfigurationError when a source and its destination are one database, though their URLs differ.

    Both are asked, so this is for new Flows. A place that does not answer is passed over: the Movement will say so.
    """
    for here, there in _pairs(sources, destinations):
        ask, ask_other = find_connector(here.scheme).identify, find_connector(there.scheme).identify
        if ask is None or ask_other is None:
            continue
        try:
            same = await ask(here) == await ask_other(there)
        except PipelineError as error:
            log.info("place_not_identified", reason=str(error))
            continue
        if same:
            raise ConfigurationError(
                f"{here.url} and {there.url} are the same database of the same server. Name another destination."
            )


def can_be_identified(sources: Sequence[Part], destinations: Sequence[Part]) -> bool:
    """Whether `ensure_distinct` would ask anybody."""
    pairs = _pairs(sources, destinations)
    return any(all(find_connector(end.scheme).identify for end in pair) for pair in pairs)


def _pairs(sources: Sequence[Part], destinations: Sequence[Part]) -> Sequence[tuple[Location, Location]]:
    return [
        (here, there)
        for here, there in zip(sources, destinations, strict=True)
        if isinstance(here, Location) and isinstance(there, Location)
    ]


def exclusions(parts: Sequence[Part], others: Sequence[Part], home: Path) -> Mapping[Path, InventoryItem]:
    """Return the paths in the trees of `parts` that are not moved, because the pipeline uses them itself.

    These are its home directory, and the databases of the Flow. What is at their path in the tree of another end is not
    moved either: it would be written over them, or they over it.
    """
    used = {home: f"the home directory of the pipeline ({home})"}
    used |= {file: f"a database of this Flow ({file})" for part in (*parts, *others) for file in _files_of(part)}
    moved = {file for part in parts for file in _files_of(part)}
    found: dict[Path, InventoryItem] = {}
    for tree, other in zip(_trees(parts), _trees(others), strict=False):
        for path, what in used.items():
            if (below := _below(path, other)) is not None:
                reason = f"{what} is at this path at the other end; move or remove one of the two"
                found[tree / below] = InventoryItem("file", str(below), Fate.NOT_MOVED, reason)
    for tree in _trees(parts):
        for path, what in used.items():
            if (below := _below(path, tree)) is not None:
                fate = Fate.OTHER_FORM if path in moved else Fate.NOT_MOVED
                found[tree / below] = InventoryItem("pipeline file", str(below), fate, f"it is {what}")
    return found


def ensure_home_outside_trees(destinations: Sequence[Part], home: Path) -> None:
    """ConfigurationError when the home directory is in a tree of a derived Flow: what is stored may be written over it."""
    for tree in _trees(destinations):
        if _below(home, tree) is not None:
            raise ConfigurationError(
                f"The home directory {home} is in the destination {tree}. Name another destination, or move the home."
            )


def _files_of(part: Part) -> Sequence[Path]:
    return find_connector(part.scheme).files(part) if isinstance(part, Location) else ()


def _trees(parts: Sequence[Part]) -> Iterator[Path]:
    """Yield the roots of those parts that are directory trees."""
    for part in parts:
        if isinstance(part, Location) and part.path is not None and not find_connector(part.scheme).is_database:
            yield part.path


def _below(path: Path, tree: Path) -> Path | None:
    """Return the path relative to a tree that it lies in, however the two are written."""
    path, tree = path.resolve(), tree.resolve()
    return path.relative_to(tree) if path.is_relative_to(tree) and path != tree else None


def _ensure_same_kind(source: Location, destination: Location) -> None:
    if find_connector(source.scheme).is_database is not find_connector(destination.scheme).is_database:
        if source.path is not None and not exists(source.path):  # so it is not known what it was meant to be
            raise ConfigurationError(
                f"{source.path}: there is no such file or directory; check the path, and its mount."
            )
        for place in (source, destination):
            if place.path is not None and place.path.is_file() and not _may_be_database(place.path):
                raise ConfigurationError(
                    f"{place.path}: this is a file, and no SQLite database. Name the directory that holds it."
                )
        raise ConfigurationError(
            f"{_named(source)} cannot be moved to {_named(destination)}: one is a database, the other a directory tree."
        )


def _may_be_database(path: Path) -> bool:
    """Whether a file has the header of SQLite, no content yet, or may not be read."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) in (b"", _SQLITE_HEADER)
    return True


def _ensure_disjoint(source: Location, destination: Location) -> None:
    same, nested = source.url == destination.url, False
    if source.path is not None and destination.path is not None:
        one, other = source.path.resolve(), destination.path.resolve()
        same = one == other
        with suppress(OSError):  # a path that does not exist is no other one
            same = same or one.samefile(other)
        is_tree = not find_connector(source.scheme).is_database
        nested = is_tree and (one.is_relative_to(other) or other.is_relative_to(one))
    if same:
        raise ConfigurationError(
            f"{_named(source)} and {_named(destination)} are the same place: source and destination at once. "
            "Name another destination."
        )
    if nested:
        raise ConfigurationError(
            f"One of {_named(source)} and {_named(destination)} contains the other. Name places that do not overlap."
        )


def _named(place: Location) -> str:
    """Return the path as it was given, or the URL of a place that has none."""
    return place.url if place.path is None else str(place.path)


def _ensure_outside(place: Location, home: Path) -> None:
    """Check that a place is none of the pipeline's own files."""
    if place.path is None:
        return
    path, home = place.path.resolve(), home.resolve()
    own = [home / "store", home / "locks"]
    is_queue = path.parent == home and path.name.startswith("queue.db")
    if is_queue or path == home or any(path.is_relative_to(directory) for directory in own):
        raise ConfigurationError(
            f"{place.url} belongs to the home directory of the pipeline, {home}. Choose another home with --home, or "
            "name another place."
        )


def _ensure_database_is_no_file(
    source: Location, destination: Location, files_from: Location, files_to: Location
) -> None:
    """Check that no file of the tree would be written over a database of the Flow."""
    assert files_from.path is not None
    assert files_to.path is not None
    moved = {file.resolve() for file in _files_of(source)}
    for role, place in (("source", source), ("destination", destination)):
        for file in _files_of(place):
            below = _below(file, files_to.path)
            overwriting = None if below is None else files_from.path / below
            if overwriting is not None and exists(overwriting) and overwriting.resolve() not in moved:
                raise ConfigurationError(
                    f"{overwriting} would be written to {file}, which is the {role}'s database. "
                    "Name another database, or another directory for the files."
                )
