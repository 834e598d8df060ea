"""Faults planted in what a process reads of a Flow's documents: checks that do not hold, and documents that are not as stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.codec.documents.failures import Failure, encode_failures
from pipeline.codec.documents.file_list import decode_file_list, encode_file_list
from pipeline.codec.documents.flow import decode_movement, encode_movement
from pipeline.domain import object_keys
from pipeline.domain.errors import ConflictError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.engine.movements.file_lists import FileLists
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from tests.fakes.passing import PassingStore
from tests.simulation.planted_faults.worlds import (
    DYING,
    FLEETS,
    FREEZING,
    MOVERS,
    guarded,
    often_maintained,
    often_pruned,
    short_lives,
    slow,
)
from tests.simulation.scenarios.planting import Ports, in_ports

_FAILURES = re.compile(r"flows/([^/]+)/movements/(\d+)/failures/")


@dataclass
class _Movements(PassingStore):
    """Shows Movements to a process in another form than the stored one."""

    def shown(self, movement: Movement) -> Movement:
        raise NotImplementedError

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        stored = await self.inner.get(key, max_bytes=max_bytes)
        if not key.endswith("/movement.json"):
            return stored
        return replace(stored, data=encode_movement(self.shown(decode_movement(stored.data, key))))


@dataclass
class _Unfenced(_Movements):
    """Shows a process its own attempt at a Movement, even if another has begun since.

    What the process then stores is of the attempt that has begun: a final status, or with `settling` no other change.
    """

    settling: bool
    own: dict[int, int] = field(default_factory=dict)
    real: dict[int, int] = field(default_factory=dict)

    def shown(self, movement: Movement) -> Movement:
        self.real[movement.number] = movement.attempts
        return replace(movement, attempts=self.own.get(movement.number, movement.attempts))

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if not key.endswith("/movement.json") or not isinstance(body, bytes):
            return await self.inner.put(key, body, condition)
        movement = decode_movement(body, key)
        own, real = self.own.get(movement.number), self.real.get(movement.number)
        if movement.attempts not in (own, real):  # it begins another attempt
            self.own[movement.number] = movement.attempts
        elif own is not None and real is not None and own != real:
            if movement.settled is not self.settling:
                raise ConflictError(f"{key} was changed by another attempt")
            body = encode_movement(replace(movement, attempts=real))
        elif own is None:
            self.own[movement.number] = movement.attempts
        return await self.inner.put(key, body, condition)


@in_ports(MOVERS, world=slow, kinds=FREEZING)
def an_exporter_that_was_replaced_goes_on(ports: Ports) -> Ports:
    return replace(ports, store=_Unfenced(ports.store, settling=False))


@in_ports(MOVERS, world=slow, kinds=FREEZING)
def a_replaced_exporter_settles(ports: Ports) -> Ports:
    return replace(ports, store=_Unfenced(ports.store, settling=True))


class _WithoutUnfinished(_Movements):
    def shown(self, movement: Movement) -> Movement:
        return replace(movement, unfinished={}) if movement.settled else movement


@in_ports(MOVERS, world=short_lives, kinds=DYING)
def forgets_what_an_export_that_never_ended_has_announced(ports: Ports) -> Ports:
    return replace(ports, store=_WithoutUnfinished(ports.store))


@dataclass
class _Choosing(_Movements):
    """Shows a process another `allow_deletes` than that of the Movement."""

    allow_deletes: tuple[str, ...]
    real: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def shown(self, movement: Movement) -> Movement:
        self.real[movement.number] = movement.allow_deletes
        return replace(movement, allow_deletes=self.allow_deletes)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if key.endswith("/movement.json") and isinstance(body, bytes):
            movement = decode_movement(body, key)
            if movement.number in self.real:
                body = encode_movement(replace(movement, allow_deletes=self.real[movement.number]))
        return await self.inner.put(key, body, condition)


@in_ports(FLEETS, world=guarded)
def deletes_what_the_guard_holds(ports: Ports) -> Ports:
    return replace(ports, store=_Choosing(ports.store, ("*",)))


@in_ports(FLEETS, world=guarded)
def forgets_which_deletes_are_allowed(ports: Ports) -> Ports:
    return replace(ports, store=_Choosing(ports.store, ()))


class _Settled(_Movements):
    def shown(self, movement: Movement) -> Movement:
        return movement if movement.settled else replace(movement, outcome=Status.SUCCESS)


@in_ports(range(50), world=often_pruned)
def prunes_while_a_movement_goes_on(ports: Ports) -> Ports:
    return replace(ports, store=_Settled(ports.store)) if ports.process.name.startswith("pruner") else ports


class _WithoutParts(PassingStore):
    """Shows a process of each File List its own lines alone, so that it takes the files of the parts for unneeded."""

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        stored = await self.inner.get(key, max_bytes=max_bytes)
        if "/groups/" not in key:
            return stored
        found = decode_file_list(stored.data, key)
        return replace(stored, data=encode_file_list(FlowName(key.split("/")[1]), found.label, found.entries, []))


@in_ports(range(50), world=often_maintained)
def deletes_by_itself_what_a_later_import_needs(ports: Ports) -> Ports:
    is_maintenance = ports.process.name.startswith("maintainer")
    return replace(ports, store=_WithoutParts(ports.store)) if is_maintenance else ports


class _Backwards(PassingStore):
    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        stored = await self.inner.get(key, max_bytes=max_bytes)
        if "/groups/" not in key:
            return stored
        found = decode_file_list(stored.data, key)
        flow = FlowName(key.split("/")[1])
        return replace(stored, data=encode_file_list(flow, found.label, found.entries[::-1], found.parts[::-1]))


@in_ports(range(50))
def takes_file_lists_backwards(ports: Ports) -> Ports:
    return replace(ports, store=_Backwards(ports.store))


class _AllFailed(PassingStore):
    """Names a failure for each Event File of a Movement."""

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        found = _FAILURES.fullmatch(prefix)
        if found is None:
            return await self.inner.list_page(prefix, after=after, limit=limit)
        flow, number = FlowName(found[1]), int(found[2])
        key = object_keys.movement_key(flow, number)
        movement = decode_movement((await self.inner.get(key)).data, key)
        lists = [await FileLists(self.inner).read(key) for key in movement.file_lists.values()]
        keys = {object_keys.failure_key(flow, number, entry.id): entry.id for entries in lists for entry in entries}
        self.failures = {key: encode_failures([Failure(keys[key], None, None, None, "not tried")]) for key in keys}
        return [ObjectInfo(key, len(data)) for key, data in sorted(self.failures.items()) if after is None]

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        if "/failures/" in key:
            return StoredObject(self.failures[key], Version("none"))
        return await self.inner.get(key, max_bytes=max_bytes)


@in_ports(FLEETS)
def a_worker_counts_what_is_not_imported_as_failed(ports: Ports) -> Ports:
    return replace(ports, store=_AllFailed(ports.store))
