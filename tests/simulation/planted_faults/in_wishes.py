"""Faults planted in what becomes of wishes: stops that are forgotten, fences that do not hold, ends that are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.codec.documents.flow import decode_flow, decode_movement, encode_flow, encode_movement
from pipeline.domain.ids import EventFileId, ObjectKey
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.wish import NO_WISH, Want
from pipeline.domain.movement import Movement
from pipeline.ports.destination import FileToLoad
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from tests.fakes.destination import MemorySession
from tests.fakes.passing import PassingStore
from tests.simulation.planted_faults.worlds import (
    FLEETS,
    FREEZING,
    impatient,
    often_full,
    often_paused,
    often_queued,
    often_stopped,
    often_without_groups,
)
from tests.simulation.scenarios.planting import Ports, in_ports, in_sessions


class _Storing(PassingStore):
    """Stores Movements in another form than the process wants to."""

    def stored(self, movement: Movement) -> Movement:
        raise NotImplementedError

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if key.endswith("/movement.json") and isinstance(body, bytes):
            body = encode_movement(self.stored(decode_movement(body, key)))
        return await self.inner.put(key, body, condition)


class _ForgettingStops(_Storing):
    def stored(self, movement: Movement) -> Movement:
        unsettled = movement.wish.want is Want.STOP and not movement.settled
        return replace(movement, wish=NO_WISH) if unsettled else movement


@in_ports(range(100), world=often_stopped)
def a_worker_forgets_a_stop(ports: Ports) -> Ports:
    """A process that changes the Movement after the stop stores it without."""
    return ports if ports.process.name.startswith("stopper") else replace(ports, store=_Losing(ports.store))


class _Losing(_ForgettingStops):
    """Also ignores that the Movement has changed since it was read."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if key.endswith("/movement.json") and not isinstance(condition, PutCondition):
            condition = PutCondition.NONE
        return await super().put(key, body, condition)


class _ForgettingGroups(_Storing):
    """Stores the Movement as if no group were to stop."""

    def stored(self, movement: Movement) -> Movement:
        return movement if movement.settled else replace(movement, group_wishes={})


@in_ports(range(100), world=often_without_groups)
def a_worker_forgets_that_a_group_is_to_stop(ports: Ports) -> Ports:
    return ports if ports.process.name.startswith("stopper") else replace(ports, store=_ForgettingGroups(ports.store))


class _SettlingTwice(PassingStore):
    """Stores the end of a Movement, and then another one."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        version = await self.inner.put(key, body, condition)
        if key.endswith("/movement.json") and isinstance(body, bytes):
            movement = decode_movement(body, key)
            if movement.because is Reason.STOPPED:
                again = replace(movement, outcome=Status.SUCCESS, because=Reason.ALL_IMPORTED)
                return await self.inner.put(key, encode_movement(again), PutCondition.NONE)
        return version


@in_ports(range(60), world=often_paused)
def a_settled_movement_changes(ports: Ports) -> Ports:
    return replace(ports, store=_SettlingTwice(ports.store))


@in_sessions(range(90, 300), world=often_stopped, kinds=FREEZING)
class FencesNothing(MemorySession):
    """A zombie commits after the stop."""

    async def fence(self, movement: int) -> None:
        """Nothing is fenced."""


@in_sessions(range(90, 300), world=often_stopped, kinds=FREEZING)
class IgnoresFences(MemorySession):
    """A load does not look at the fence in the step that commits it."""

    def why_not(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        fences, self.at.fences = self.at.fences, {}
        try:
            return super().why_not(file, after)
        finally:
            self.at.fences = fences


@in_sessions(FLEETS, world=impatient, kinds=FREEZING)
class FencesNoTimeout(FencesNothing):
    """A zombie commits after the time-out."""


class _ForgettingRefusals(_Storing):
    """Stores the Movement as if the destination had refused nothing."""

    def stored(self, movement: Movement) -> Movement:
        return movement if movement.settled else replace(movement, refused="")


@in_ports(range(200), world=often_full)
def a_worker_forgets_that_the_destination_refuses_everything(ports: Ports) -> Ports:
    """The process that settles the Movement finds the refusal, and stores it away."""
    return replace(ports, store=_ForgettingRefusals(ports.store)) if _is_second(ports) else ports


def _is_second(ports: Ports) -> bool:
    return not ports.process.name.endswith("-1")


class _ForgettingStarts(_Storing):
    """Stores a Movement without the start that it comes from."""

    def stored(self, movement: Movement) -> Movement:
        return replace(movement, queued=None)


@in_ports(range(1, 200, 2), world=often_queued)
def a_movement_does_not_name_its_queued_start(ports: Ports) -> Ports:
    return replace(ports, store=_ForgettingStarts(ports.store))


class _KeepingStarts(PassingStore):
    """Keeps a queued start when it has begun."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if key.endswith("/flow.json") and isinstance(body, bytes) and not isinstance(condition, PutCondition):
            flow, stored = decode_flow(body, key), decode_flow((await self.inner.get(key)).data, key)
            body = encode_flow(replace(flow, queued=flow.queued or stored.queued))
        return await self.inner.put(key, body, condition)


@in_ports(range(1, 200, 2), world=often_queued)
def a_queued_start_begins_again(ports: Ports) -> Ports:
    return replace(ports, store=_KeepingStarts(ports.store))
