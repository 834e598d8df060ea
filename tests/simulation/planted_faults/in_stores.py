"""Faults planted in the object store: what is stored too late, too early, wrong, or not seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import ConflictError
from pipeline.domain.ids import FlowName, Label, ObjectKey, decode_name
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, Version
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError
from tests.fakes.passing import PassingStore
from tests.simulation.planted_faults.worlds import (
    DYING,
    FLEETS,
    FREEZING,
    busy_fleet,
    often_full,
    often_queued,
    often_without_groups,
)
from tests.simulation.scenarios.planting import Ports, in_ports

_FILE_LIST = re.compile(r"flows/([^/]+)/movements/(\d+)/groups/([^/]+)/files\.\d+(\.\d+)?\.jsonl")
_EVENTS_OF_A_STREAM = re.compile(r"flows/[^/]+/events/\d+/[^/]+/")
_STATE = re.compile(r"(flows/[^/]+/snapshots/[^/]+/)\d+\.\d+")


async def _all_of(body: bytes | OpenBody) -> bytes:
    if isinstance(body, bytes):
        return body
    async with body() as pieces:
        return b"".join([piece async for piece in pieces])


@dataclass
class _Announcing(PassingStore):
    """Announces a File List right before it is stored: those of groups that grow, or those of complete ones."""

    queue: EventQueue
    growing: bool

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        found = _FILE_LIST.fullmatch(key)
        if found and bool(found[4]) is self.growing:
            flow, label = FlowName(decode_name(found[1])), Label(decode_name(found[3]))
            grown_from = 0 if self.growing else None
            announced = GroupCompleted(flow, int(found[2]), label, key, grown_from=grown_from)
            await self.queue.send([encode_message(announced)])
        return await self.inner.put(key, body, condition)


@in_ports(range(50))
def announces_before_the_file_list_is_stored(ports: Ports) -> Ports:
    return replace(ports, store=_Announcing(ports.store, ports.queue, growing=False))


@in_ports(range(50))
def announces_a_list_that_has_grown_before_it_is_stored(ports: Ports) -> Ports:
    return replace(ports, store=_Announcing(ports.store, ports.queue, growing=True))


@dataclass
class _Delaying(PassingStore):
    """Stores what has `late` in its key after the next object that has `until` in its own."""

    late: str
    until: str
    waiting: list[tuple[ObjectKey, bytes]] = field(default_factory=list)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if self.late in key:
            self.waiting.append((key, await _all_of(body)))
            return Version("late")
        version = await self.inner.put(key, body, condition)
        while self.until in key and self.waiting:
            with suppress(ConflictError):
                await self.inner.put(*self.waiting.pop(), PutCondition.ABSENT)
        return version


@in_ports(range(50))
def stores_the_file_list_before_the_event_files(ports: Ports) -> Ports:
    return replace(ports, store=_Delaying(ports.store, "/events/", "/groups/"))


@in_ports(range(50))
def stores_the_state_after_the_event_file(ports: Ports) -> Ports:
    return replace(ports, store=_Delaying(ports.store, "/parts/", "/events/"))


@in_ports(range(50))
def stores_binaries_after_the_event_file(ports: Ports) -> Ports:
    return replace(ports, store=_Delaying(ports.store, "/binaries/", "/events/"))


class _HidingEventFiles(PassingStore):
    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        if _EVENTS_OF_A_STREAM.fullmatch(prefix):
            return []
        return await self.inner.list_page(prefix, after=after, limit=limit)


@in_ports(range(100))
def adopts_nothing_of_an_earlier_attempt(ports: Ports) -> Ports:
    return replace(ports, store=_HidingEventFiles(ports.store))


class _RememberingTheStateBefore(PassingStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        found = _STATE.fullmatch(key)
        if found:
            stored = [info.key for info in await self.inner.list_page(found[1]) if _STATE.fullmatch(info.key)]
            body = (await self.inner.get(max(stored))).data if stored else body
        return await self.inner.put(key, body, condition)


@in_ports(range(200))
def remembers_the_state_before_the_changes(ports: Ports) -> Ports:
    return replace(ports, store=_RememberingTheStateBefore(ports.store))


class _IgnoringVersions(PassingStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await self.inner.put(key, body, condition if isinstance(condition, PutCondition) else PutCondition.NONE)


@in_ports(FLEETS, world=busy_fleet, kinds=FREEZING)
def changes_movements_without_comparing(ports: Ports) -> Ports:
    return replace(ports, store=_IgnoringVersions(ports.store))


class _Overwriting(PassingStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await self.inner.put(key, body, PutCondition.NONE if condition is PutCondition.ABSENT else condition)


@in_ports(range(50))
def creates_what_exists_already(ports: Ports) -> Ports:
    return replace(ports, store=_Overwriting(ports.store))


class _Halving(PassingStore):
    """A process that dies while it stores something leaves half of it."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        try:
            return await self.inner.put(key, body, condition)
        except CrashError:
            assert isinstance(self.inner, CallingStore)
            bucket = self.inner.inner
            assert isinstance(bucket, Bucket)
            if isinstance(body, bytes) and condition is PutCondition.ABSENT and key not in bucket.content:
                await bucket.put(key, body[: len(body) // 2], PutCondition.NONE)
            raise


@in_ports(range(50), kinds=DYING)
def stores_in_two_halves(ports: Ports) -> Ports:
    return replace(ports, store=_Halving(ports.store))


@dataclass
class _Forgetful(PassingStore):
    """Does not store some events of the outbox, and says that it has."""

    lost: str

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if "/outbox/" in key and self.lost in key:
            return Version("not stored")
        return await self.inner.put(key, body, condition)


@in_ports(range(50))
def an_event_is_lost(ports: Ports) -> Ports:
    return replace(ports, store=_Forgetful(ports.store, "movement.settled"))


@in_ports(range(50))
def an_event_of_a_group_is_lost(ports: Ports) -> Ports:
    return replace(ports, store=_Forgetful(ports.store, "group.imported"))


@in_ports(range(1, 200, 2), world=often_queued)
def an_event_of_a_queued_start_is_lost(ports: Ports) -> Ports:
    return replace(ports, store=_Forgetful(ports.store, "start.queued"))


@in_ports(range(200), world=often_full)
def an_event_that_the_destination_refuses_is_lost(ports: Ports) -> Ports:
    return replace(ports, store=_Forgetful(ports.store, "destination.refuses"))


@in_ports(range(60), world=often_without_groups)
def an_event_of_a_group_that_is_stopped_is_lost(ports: Ports) -> Ports:
    return replace(ports, store=_Forgetful(ports.store, "group.stopped"))


@dataclass
class _Repetitive(PassingStore):
    """Stores each event of a process under a key of its own."""

    process: str

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if "/outbox/" in key:
            key = ObjectKey(key.removesuffix(".json") + f".{self.process}.json")
        return await self.inner.put(key, body, condition)


@in_ports(range(100))
def an_event_is_there_twice(ports: Ports) -> Ports:
    return replace(ports, store=_Repetitive(ports.store, ports.process.name))
