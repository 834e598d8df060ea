"""Planted faults: each breaks one rule at the ports of every process, and the simulation must find it.

The model checks what happens at the ports. So a planted fault wraps a port, and changes nothing in the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.assembly.progress_counts import Tally
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.testing.simulated.faults import Kind
from pipeline.testing.simulated.process import Process
from tests.fakes.destination import MemorySession
from tests.fakes.place import Writer
from tests.fakes.source import MemorySource
from tests.simulation.platform.plan import Plan


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that `process` works with, besides source and destination."""

    store: ObjectStore
    queue: EventQueue
    process: Process


ReplacePorts = Callable[[Ports], Ports]
ReplaceCopy = Callable[[MemorySource], MemorySource]
ChangePlan = Callable[[Plan], Plan]


def _as_they_are(ports: Ports) -> Ports:
    return ports


def _as_it_is(copy: MemorySource) -> MemorySource:
    return copy


def any_world(plan: Plan) -> Plan:
    """Leave the plan of a seed as it is."""
    return plan


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """What is wrong, and the worlds in which it shows: one of `seeds` must fail.

    `ports` replaces what a process works with; `session` is what its destinations open; `copy` replaces what `verify`
    reads as the destination. `tally` counts what a process shows of its progress. `world` changes the plan of a
    seed. `kinds`, if any, are the kinds of faults that are dealt, and dealt often, whatever the seed favours.
    """

    name: str = "nothing"
    seeds: range = range(0)
    ports: ReplacePorts = _as_they_are
    session: type[MemorySession] = MemorySession
    copy: ReplaceCopy = _as_it_is
    world: ChangePlan = any_world
    kinds: frozenset[Kind] = frozenset()
    tally: type[Tally] = Tally


NOTHING = PlantedFault()
PLANTED: list[PlantedFault] = []


def in_ports(
    seeds: range, *, world: ChangePlan = any_world, kinds: frozenset[Kind] = frozenset()
) -> Callable[[ReplacePorts], ReplacePorts]:
    """Plant a fault by a function that replaces ports."""

    def planted(ports: ReplacePorts) -> ReplacePorts:
        PLANTED.append(PlantedFault(ports.__name__, seeds, ports, world=world, kinds=kinds))
        return ports

    return planted


def in_sessions(
    seeds: range, *, world: ChangePlan = any_world, kinds: frozenset[Kind] = frozenset()
) -> Callable[[type[MemorySession]], type[MemorySession]]:
    """Plant a fault by a class of sessions that destinations open."""

    def planted(session: type[MemorySession]) -> type[MemorySession]:
        PLANTED.append(PlantedFault(session.__name__, seeds, session=session, world=world, kinds=kinds))
        return session

    return planted


def in_copies(seeds: range) -> Callable[[ReplaceCopy], ReplaceCopy]:
    """Plant a fault by a function that replaces what `verify` reads as the destination."""

    def planted(copy: ReplaceCopy) -> ReplaceCopy:
        PLANTED.append(PlantedFault(copy.__name__, seeds, copy=copy))
        return copy

    return planted


def in_writers(seeds: range, *, world: ChangePlan = any_world) -> Callable[[type[Writer]], type[Writer]]:
    """Plant a fault by a class with which destinations write rows."""

    def planted(writer: type[Writer]) -> type[Writer]:
        session = type(f"{writer.__name__}Session", (MemorySession,), {"writer": writer})
        PLANTED.append(PlantedFault(writer.__name__, seeds, session=session, world=world))
        return writer

    return planted


def in_tallies(seeds: range) -> Callable[[type[Tally]], type[Tally]]:
    """Plant a fault by a class that counts what a process shows of its progress."""

    def planted(tally: type[Tally]) -> type[Tally]:
        PLANTED.append(PlantedFault(tally.__name__, seeds, tally=tally))
        return tally

    return planted
