"""The scope of a verification: which streams of the Flow are compared with which streams of the destination."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from shlex import quote

from pipeline.domain.errors import AbsentError, ConfigurationError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.verify.stored_snapshot import StoredSnapshot
from pipeline.ports.app_copy import AppCopy
from pipeline.ports.source import Snapshot

MOVEMENTS_LOOKED_AT = 10
"""A stream that one of this many latest Movements selects belongs to the Flow."""


@dataclass(frozen=True, slots=True)
class FlowHistory:
    """The latest Movements of a Flow, newest first, at least one, and the reasons of rejected records.

    `rejected` maps a stream and the text of a key to the reason why the record with that key was rejected.
    """

    movements: Sequence[Movement]
    rejected: Mapping[StreamName, Mapping[str, str]]

    @property
    def latest(self) -> Movement:
        """The latest Movement."""
        return self.movements[0]

    def moves(self, stream: StreamName) -> bool:
        """Whether the Flow moves the stream.

        It does if it has stored the stream, or if one of its latest Movements selects the stream, unless the latest one
        excludes it. (`--only` limits one Movement, not the Flow.)
        """
        if any(fnmatchcase(stream, pattern) for pattern in self.latest.exclude):
            return False
        return stream in self.latest.states or any(
            selected(stream, movement.only, movement.exclude) for movement in self.movements
        )

    def is_unhandled(self, stream: StreamName) -> bool:
        """Whether the Importer had no handler for the stream in the latest Movement."""
        return any((item.kind, item.name) == ("unhandled stream", stream) for item in self.latest.inventory.items)


async def read_history(flows: FlowStore, name: FlowName) -> FlowHistory:
    """Read the latest Movements of a Flow. ConfigurationError when it has none."""
    flow = await flows.read_flow(name)
    movements: list[Movement] = []
    movement = await _read(flows, name, flow.movements)
    while movement is not None and len(movements) < MOVEMENTS_LOOKED_AT:
        movements.append(movement)
        movement = await _read(flows, name, movement.number - 1)
    if not movements:
        raise ConfigurationError(
            f"Flow {name!r} has no Movement yet, so there is nothing to verify. Run `pipeline move --flow {quote(name)}` first."
        )
    return FlowHistory(movements, await _read_rejected(flows, movements[0]))


async def _read_rejected(flows: FlowStore, latest: Movement) -> Mapping[StreamName, Mapping[str, str]]:
    """Return the reasons of rejected records, read from the Movements back to the first one that counts any.

    Each Movement counts a rejected record until it is imported. A record that was imported while others stayed rejected
    may still be listed; that matters only if its key differs again.
    """
    found: defaultdict[StreamName, dict[str, str]] = defaultdict(dict)
    movement: Movement | None = latest
    while movement is not None and (movement.totals.rejected or not movement.settled):
        for failure in await flows.read_failures(movement.flow, movement.number):
            if failure.key is not None:
                found[failure.file.stream].setdefault(failure.key, failure.reason)
        for rejection in movement.rejections.named:
            found[rejection.stream].setdefault(rejection.key, rejection.reason)
        movement = await _read(flows, movement.flow, movement.number - 1)
    return found


async def _read(flows: FlowStore, name: FlowName, number: int) -> Movement | None:
    """Return a Movement; None when it never existed or was pruned."""
    if number < 1:
        return None
    try:
        return await flows.read_movement(name, number)
    except AbsentError:
        return None


@dataclass(frozen=True, slots=True)
class StreamPair:
    """A stream at the source and at the destination, if that has it. `gone`: the source no longer has it.

    `case_twins` are further streams of the destination whose names differ in case only.
    """

    here: StreamSchema
    there: StreamSchema | None
    gone: bool
    case_twins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """The streams to compare, in order, and those that are not: `left_out` are those of another technology.

    `unhandled` are those that the destination's Importer has no handler for.
    """

    compared: tuple[StreamPair, ...]
    not_selected: tuple[StreamName, ...]
    left_out: tuple[StreamName, ...]
    only_at_destination: tuple[StreamName, ...]
    unhandled: tuple[StreamName, ...]


async def read_scope(
    history: FlowHistory, here: Snapshot | StoredSnapshot, stored: StoredSnapshot, copy: Snapshot, wanted: Sequence[str]
) -> Scope:
    present, there, known_before = await here.streams(), await copy.streams(), await stored.streams()
    all_here = [*present, *known_before]
    left_out = SPECIAL_STREAMS - _comparable(all_here, there)
    present, there = _without(left_out, present), _without(left_out, there)
    names = {schema.stream for schema in present}
    gone = [schema for schema in _without(left_out, known_before) if schema.stream not in names]
    taken = [schema for schema in (*present, *gone) if _is_handled(schema.stream, copy, history)]
    moved = [schema for schema in taken if history.moves(schema.stream)]
    compared = sorted(wanted_streams(moved, wanted), key=lambda schema: schema.stream)
    matched = {schema.stream: counterpart(schema.stream, there) for schema in present}
    untaken = [
        schema for schema in there if schema not in matched.values()
    ]  # a table renamed in case has taken its own
    matched |= {schema.stream: counterpart(schema.stream, untaken) for schema in gone}
    known = {found.stream for found in matched.values() if found is not None}
    return Scope(
        tuple(
            StreamPair(
                schema,
                matched[schema.stream],
                gone=schema.stream not in names,
                case_twins=case_twins(schema.stream, there, known),
            )
            for schema in compared
        ),
        not_selected=tuple(it.stream for it in taken if it.stream in names and not history.moves(it.stream)),
        left_out=tuple(sorted(left_out & {schema.stream for schema in all_here})),
        only_at_destination=tuple(schema.stream for schema in there if schema.stream not in known),
        unhandled=tuple(schema.stream for schema in present if schema not in taken),
    )


def _is_handled(stream: StreamName, copy: Snapshot, history: FlowHistory) -> bool:
    return copy.handles(stream) if isinstance(copy, AppCopy) else not history.is_unhandled(stream)


def _comparable(here: Sequence[StreamSchema], there: Sequence[StreamSchema]) -> Set[StreamName]:
    """Return the special streams of the source that can be compared: the destination is of the same technology."""
    same = not there or bool(_technologies(here) & _technologies(there))
    return {schema.stream for schema in here if same} & SPECIAL_STREAMS


def _without(left_out: Container[StreamName], streams: Sequence[StreamSchema]) -> Sequence[StreamSchema]:
    return [schema for schema in streams if schema.stream not in left_out]


def _technologies(streams: Sequence[StreamSchema]) -> set[object]:
    natives = [native for schema in streams for native in schema.native.items()]
    nested = {value["technology"] for _, value in natives if isinstance(value, dict) and "technology" in value}
    return {name for name, _ in natives} | nested


def wanted_streams(streams: Sequence[StreamSchema], wanted: Sequence[str]) -> list[StreamSchema]:
    """Return the streams that match one of the patterns, or all if there are none.

    ConfigurationError when a pattern matches no stream.
    """
    for pattern in wanted:
        if not any(fnmatchcase(schema.stream, pattern) for schema in streams):
            known = ", ".join(repr(schema.stream) for schema in streams[:20])
            raise ConfigurationError(f"No stream of this Flow matches {pattern!r}. It has: {known or 'none'}")
    return [schema for schema in streams if selected(schema.stream, wanted, ())]


def counterpart(stream: StreamName, there: Sequence[StreamSchema]) -> StreamSchema | None:
    """Return the destination's stream of this name; None when there is none.

    Second choice is the same name in double quotes, which a technology may need; third is one that differs in case only.
    """
    for likeness in (str, _unquoted, _folded):
        found = [schema for schema in there if likeness(schema.stream) == likeness(stream)]
        if len(found) == 1:
            return found[0]
    return None


def case_twins(stream: StreamName, there: Sequence[StreamSchema], taken: Collection[StreamName]) -> tuple[str, ...]:
    """Return the destination's streams whose names differ from this one in case only, but for those `taken`."""
    return tuple(
        schema.stream for schema in there if schema.stream not in taken and _folded(schema.stream) == _folded(stream)
    )


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name


def _folded(name: str) -> str:
    return _unquoted(name).casefold()
