"""Groups that wait for others: one is imported only once those that it depends on are."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.flows.declaration import GroupRule
from pipeline.domain.flows.groups import dependants, dependencies
from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.planning.import_plan import accounted, plan
from pipeline.engine.movements.context import EngineContext


class Turn(Enum):
    """Whether a group may be imported now."""

    NOW = "now"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Blocked:
    """A group that cannot be imported in this Movement, because one that it depends on was not."""

    reason: str


class GroupOrder:
    """Decides when a group may be imported. Reads what other processes have done from the store.

    Groups are exported in the order of their dependencies. So when a group is announced, the lists of those that it
    depends on are complete, and `movement.json` names them.
    """

    def __init__(self, context: EngineContext, movement: Movement, groups: Sequence[GroupRule]) -> None:
        self._context, self._flow, self._number = context, movement.flow, movement.number
        self._groups = groups

    @property
    def are_ordered(self) -> bool:
        """Whether any group depends on another."""
        return bool(self._groups)

    def waits(self, label: Label) -> bool:
        """Whether a group depends on any other."""
        return bool(dependencies(label, self._groups))

    async def turn(
        self, label: Label, marked: Container[EventFileId], failed: Mapping[EventFileId, str]
    ) -> Turn | Blocked:
        """Return whether a group may be imported, given what is marked and what has failed."""
        movement = await self._context.flows.read_movement(self._flow, self._number)
        failures = await self._context.flows.read_failures(self._flow, self._number)
        failed = {**{one.file: one.reason for one in failures if one.line is None}, **failed}
        for needed in dependencies(label, self._groups):
            if (key := movement.file_lists.get(needed)) is None:
                continue  # it has never had a record
            entries = await self._context.flows.read_file_list(key)
            pending = [
                entry.id for lane in plan(entries, marked).lanes for step in lane.steps for entry in step.pending
            ]
            if not pending:
                continue
            if needed in movement.groups_that(Want.STOP):
                return Blocked(_waits_for(needed, f"which was stopped, {movement.group_wishes[needed]}"))
            if accounted(entries, marked, failed):
                first = next(file for file in pending if file in failed)
                return Blocked(_waits_for(needed, f"whose Event File {first} was not imported"))
            if movement.exported and needed not in movement.groups:
                return Blocked(
                    _waits_for(needed, f"which this Movement leaves out, and {len(pending):,} of its files wait")
                )
            return Turn.LATER
        return Turn.NOW

    async def announce_dependants(self, label: Label) -> None:
        """Announce the groups that wait for this one: they may be imported now."""
        waiting = dependants(label, self._groups)
        if not waiting:
            return
        movement = await self._context.flows.read_movement(self._flow, self._number)
        announced = [
            GroupCompleted(self._flow, self._number, one, movement.file_lists[one])
            for one in waiting
            if one in movement.file_lists and (not movement.exported or one in movement.groups)
        ]
        if announced:
            await self._context.queue.send([encode_message(message) for message in announced])


def _waits_for(needed: Label, why: str) -> str:
    return f"its group depends on the group {needed!r}, {why}. It is imported once that group is"
