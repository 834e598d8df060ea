"""Faults planted where groups grow, where a helper imports, and where operators compact and prune."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.imports.assisted_import import AssistedImport
from pipeline.engine.maintenance.pruning import Pruner
from pipeline.engine.movements import lifecycle
from tests.simulation.mutations import Patch, found_within


@found_within(50)
def announces_a_list_that_has_grown_before_it_is_stored(patch: Patch) -> None:
    put = GroupListing._put

    async def announce_and_put(self: GroupListing, key: ObjectKey, entries: list[FileEntry]) -> None:
        movement = self._movement
        if key != object_keys.file_list_key(movement.flow, movement.number, self._label, movement.attempts):
            announced = GroupCompleted(movement.flow, movement.number, self._label, key, grown_from=0)
            await self._attempt.context.queue.send([encode_message(announced)])
        await put(self, key, entries)

    patch.setattr(GroupListing, "_put", announce_and_put)


@found_within(500)
def forgets_what_an_export_that_never_ended_has_announced(patch: Patch) -> None:
    next_movement = lifecycle.next_movement

    def forgetful(*arguments: Any) -> Movement:
        return replace(next_movement(*arguments), unfinished={})

    patch.setattr(lifecycle, "next_movement", forgetful)


@found_within(1000, first=640)
def believes_a_helper_alone(patch: Patch) -> None:
    async def nothing(self: AssistedImport) -> None:
        """What another helper has imported is not known."""

    patch.setattr(AssistedImport, "refresh", nothing)


@found_within(500)
def prunes_while_a_movement_goes_on(patch: Patch) -> None:
    async def latest(self: Pruner, flow: Any) -> Movement:
        movement = await self._flows.latest(flow)
        assert movement is not None
        return movement

    patch.setattr(Pruner, "_settled", latest)
