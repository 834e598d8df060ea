"""While a group is being exported, importers do not take its File List for the complete one, whichever message names it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.movement import Status
from pipeline.domain.object_keys import is_growing
from pipeline.engine.imports.existing_records import ExistingRecords
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.test_outbox import events_of, told
from tests.engine.wider_world import WiderWorld, abandon, may_crash, numbered
from tests.loops import on_trio

A = Label("a")


class Compared(ExistingRecords):
    """Notes which files were compared with what the destination has, which has other rows."""

    def __init__(self) -> None:
        self.files: list[FileEntry] = []

    async def is_clear(self, stream: StreamName) -> bool:
        return False

    async def refusal(self, stream: StreamName, files: Sequence[FileEntry]) -> str:
        self.files += files
        return ""


@on_trio
async def test_a_group_that_is_announced_while_it_grows_is_not_imported_to_its_end() -> None:
    world = WiderWorld({"a": numbered(*range(60))})
    with may_crash():
        await world.move(Faults(crash_on="after store.put flows/crm/events/1/a/full/6.jsonl.zst"))
    movement = await world.flows.read_movement(FLOW, 1)
    key = movement.file_lists[A]
    assert is_growing(key)
    flow = await world.flows.read_flow(FLOW)
    again = GroupCompleted(FLOW, 1, A, key)  # as a resume or the sweep announces it
    before, compared = dict(world.destination.loads), Compared()
    async with world.destination.open(flow.marks_namespace) as session:
        for existing in (compared, None):
            importing = MovementImport(world.context(), movement, session, existing=existing)
            await importing.refresh()
            assert await importing.take(again)
            assert importing.done == set()
            if existing is not None:
                assert (world.destination.loads, compared.files) == (
                    before,
                    [],
                )  # not before all of the stream is stored
    assert {entry.id for entry in await world.listed()} <= set(world.destination.loads)
    assert ("group.imported", "a") not in told(await events_of(world.store), 1)
    assert (await world.move()).status is Status.SUCCESS
    (imported,) = [event for event in await events_of(world.store) if event.type == "group.imported"]
    assert imported.data["files"] == {"imported": 10, "skipped": 0}


@on_trio
async def test_a_complete_group_has_a_list_that_says_so() -> None:
    world = WiderWorld({"a": numbered(*range(60))})
    with may_crash():
        await world.move(Faults(crash_on="before store.put flows/crm/movements/1/groups/a/files.1.jsonl"))
    movement = await world.move()
    assert (movement.number, movement.totals.files_exported) == (1, 10)
    assert not is_growing(movement.file_lists[A])


@on_trio
async def test_a_group_of_which_an_earlier_movement_has_stored_all_is_still_told_of() -> None:
    world = WiderWorld({"a": numbered(*range(60))})
    await abandon(world, "before store.put flows/crm/movements/1/groups/a/files.1.jsonl")
    assert ("group.exported", "a") not in told(await events_of(world.store), 1)
    second = await world.move()
    assert (second.status, second.totals.files_exported) == (Status.SUCCESS, 0)
    events = told(await events_of(world.store), 2)
    assert (events["group.exported", "a"], events["group.imported", "a"]) == (1, 1)
    await world.move()
    assert ("group.exported", "a") not in told(await events_of(world.store), 3)
