"""Faults planted in what Movements and workers have in common, and in the store below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.messaging import leases
from pipeline.engine.movements.settlement import Settlement
from pipeline.engine.movers.mover import Mover
from pipeline.engine.workers.sweep import Sweep
from pipeline.ports.event_queue import Message
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from tests.simulation.mutations import Patch, found_within
from tests.simulation.process import CrashError
from tests.simulation.store import SimulatedStore


@found_within(50)
def settles_before_all_is_imported(patch: Patch) -> None:
    async def at_once(*_: object) -> None:
        return None

    patch.setattr(Mover, "_wait_imported", at_once)


@found_within(50)
def a_worker_settles_without_looking_at_the_lists(patch: Patch) -> None:
    patch.setattr("pipeline.engine.workers.import_worker.accounted", lambda *_: True)


class _AnyAttempt(int):
    """Is never another."""

    def __ne__(self, other: object) -> bool:
        return False


@found_within(1000, first=6680)
def who_was_replaced_settles(patch: Patch) -> None:
    settle = Settlement.settle

    async def settle_anyway(self: Settlement, movement: Movement, *rest: Any) -> Movement:
        return await settle(self, replace(movement, attempts=_AnyAttempt(movement.attempts)), *rest)

    patch.setattr(Settlement, "settle", settle_anyway)


@found_within(1000, first=280)
def changes_movements_without_comparing(patch: Patch) -> None:
    put = SimulatedStore.put

    async def put_anyway(
        self: SimulatedStore, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version
    ) -> Version:
        return await put(self, key, body, PutCondition.NONE if isinstance(condition, str) else condition)

    patch.setattr(SimulatedStore, "put", put_anyway)


@found_within(50)
def creates_what_exists_already(patch: Patch) -> None:
    put = SimulatedStore.put

    async def put_anyway(
        self: SimulatedStore, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version
    ) -> Version:
        return await put(self, key, body, PutCondition.NONE if condition is PutCondition.ABSENT else condition)

    patch.setattr(SimulatedStore, "put", put_anyway)


@found_within(500)
def stores_in_two_halves(patch: Patch) -> None:
    put = SimulatedStore.put

    async def halves(
        self: SimulatedStore, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version
    ) -> Version:
        try:
            return await put(self, key, body, condition)
        except CrashError:
            if isinstance(body, bytes) and condition is PutCondition.ABSENT and key not in self.bucket.content:
                await self.bucket.put(key, body[: len(body) // 2], PutCondition.NONE)
            raise

    patch.setattr(SimulatedStore, "put", halves)


@found_within(200)
def the_sweep_never_rings(patch: Patch) -> None:
    async def nothing(*_: object) -> Sequence[object]:
        return []

    patch.setattr(Sweep, "look", nothing)


@found_within(500)
def a_full_disk_under_the_queue_ends_a_worker(patch: Patch) -> None:
    async def give_back(queue: Any, message: Message, *, after_seconds: float = 0.0) -> None:
        await queue.extend(message.receipt, after_seconds)

    patch.setattr(leases, "give_back", give_back)
    patch.setattr("pipeline.engine.messaging.consumer.give_back", give_back)
