"""Pruning deletes only objects that are not needed, whatever happens before, during and after it."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest

from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError, TransientError
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Status
from pipeline.domain.planning.retention import Needed, Reason, reason_to_delete
from pipeline.engine.maintenance.pruning import Pruner
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.ports.object_store import PutCondition
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, ignore, may_crash, numbered
from tests.loops import on_trio

PREFIX = "flows/crm/"


async def moved(times: int = 4) -> WiderWorld:
    world = WiderWorld({"a": numbered(*range(20)), "b": numbered(1)})
    for movement in range(times):
        world.tables["a"][movement] = f"changed in {movement}"
        await world.move()
    return world


async def ensure_whole(world: WiderWorld) -> None:
    """Check that every named object exists: a new destination gets all rows, and a Movement runs."""
    for entry in await world.listed():
        reader = EventFileReader(entry.encoding)
        data = (await world.store.get(entry.key)).data
        for _ in reader.feed(data):
            pass
        reader.close()
    name = await world.add_destination(f"new {len(world.further)}")
    movement = await world.bring(name)
    assert movement.status is Status.SUCCESS
    assert world.further[name].tables == world.destination.tables


@on_trio
async def test_a_preview_deletes_nothing_and_reports_what_would_be_deleted() -> None:
    world = await moved()
    before = await world.keys()
    pruning = await world.prune(deleting=False)
    assert await world.keys() == before
    assert not pruning.deleted
    assert set(pruning.going) == {Reason.FILE_LIST, Reason.STATE, Reason.STATE_PART}
    assert pruning.going[Reason.FILE_LIST].objects == 1 + 3  # of `a`: one that grew, three that were complete
    assert (await world.prune()).going == pruning.going
    assert (await world.prune()).going == {}


@on_trio
async def test_a_movement_deletes_the_states_that_the_one_before_has_replaced() -> None:
    world = await moved(6)
    kept = {key for key in await world.keys() if "/snapshots/" in key or "/parts/" in key}
    assert kept == {
        *(object_keys.state_key(FLOW, StreamName("a"), number, 1) for number in (5, 6)),
        object_keys.state_key(FLOW, StreamName("b"), 1, 1),
        *(key for key in kept if key.startswith(object_keys.state_parts_prefix(FLOW, 6))),
    }
    await ensure_whole(world)


@on_trio
async def test_the_remaining_objects_are_sufficient() -> None:
    world = await moved()
    await world.prune()
    await ensure_whole(world)
    movement = await world.move()
    assert (movement.status, movement.totals.files_exported) == (Status.SUCCESS, 0)
    world.tables["a"][3] = "changed after that"
    assert (await world.move()).totals.upserts == 1
    assert world.destination.tables == world.tables
    await ensure_whole(world)


@on_trio
async def test_objects_that_a_compaction_replaced_are_deleted() -> None:
    world = await moved()
    await world.compact()
    pruning = await world.prune()
    assert pruning.going[Reason.EVENT_FILE].objects == 7
    await ensure_whole(world)
    assert (await world.move()).totals.files_imported == 0
    assert world.destination.tables == world.tables


@on_trio
async def test_a_destination_with_a_part_of_the_pruned_history_becomes_equal() -> None:
    world = WiderWorld({"a": numbered(*range(20))})
    await world.move()
    late = await world.add_destination("late")
    await world.bring(late)
    for number in range(5):
        del world.tables["a"][number]
        world.tables["a"][number + 10] = "changed"
        await world.move()
    await world.compact()
    await world.prune()
    assert (await world.bring(late)).status is Status.SUCCESS
    assert world.further[late].tables == world.tables


@on_trio
async def test_nothing_is_pruned_while_a_movement_is_in_progress() -> None:
    world = await moved()
    world.tables["a"][3] = "changed again"
    with may_crash():
        await world.move(Faults(crash_on="after store.put flows/crm/events/5/a/incremental/0.jsonl.zst"))
    before = await world.keys()
    with pytest.raises(ConfigurationError, match="Movement 5"):
        await world.prune()
    with pytest.raises(ConfigurationError, match="Movement 5"):
        await world.prune(deleting=False)
    assert await world.keys() == before
    assert (await world.move()).number == 5
    await world.prune()
    assert world.destination.tables == world.tables
    await ensure_whole(world)


@on_trio
async def test_no_movement_starts_during_pruning() -> None:
    world = await moved()
    parts = world.context()
    refused: list[str] = []

    async def begin() -> None:
        with pytest.raises(TransientError, match="pruned") as caught:
            await begin_movement(world.flows, await world.flows.read_flow(FLOW))
        refused.append(str(caught.value))

    class BeginningStore(type(parts.store)):  # type: ignore[misc]  # a store that something happens to
        async def delete(self, key: ObjectKey) -> None:
            if not refused:
                await begin()
            await super().delete(key)

    store = BeginningStore(world.store, Faults())
    await Pruner(store, parts.flows, world.clock, FLOW, "worker").run(ignore, take_over=False)
    assert "pipeline prune crm --yes" in refused[0]
    assert (await world.move()).status is Status.SUCCESS


@pytest.mark.slow
@on_trio
async def test_after_a_crash_at_any_call_all_needed_objects_exist_and_pruning_again_completes_it() -> None:
    probe = Faults()
    await (await moved(2)).prune(faults=probe)
    for moment in range(probe.calls):
        world = await moved(2)
        with may_crash():
            await world.prune(faults=Faults(crash_at=moment))
        await ensure_whole(world)
        await world.prune()
        assert (await world.prune()).going == {}
        assert (await world.move()).status is Status.SUCCESS
        await ensure_whole(world)


@on_trio
async def test_the_claim_of_another_process_is_respected() -> None:
    world = await moved(2)
    with may_crash():
        await world.prune(faults=Faults(crash_on=f"before store.list_page {PREFIX}movements/"))
    with pytest.raises(TransientError, match="--take-over"):
        await Pruner(world.store, world.flows, world.clock, FLOW, "other").run(ignore, take_over=False)
    with pytest.raises(TransientError, match="being pruned"):
        await world.move()
    await world.prune()
    assert (await world.move()).status is Status.SUCCESS


@on_trio
async def test_objects_of_an_abandoned_export_are_deleted() -> None:
    world = await moved(2)
    world.tables["a"][3] = "changed again"
    with may_crash():
        await world.move(Faults(crash_on="after store.put flows/crm/events/3/a/incremental/0.jsonl.zst"))
    moment = world.clock.now()
    await world.flows.update(FLOW, 3, lambda now: now.to(Status.TIMED_OUT, moment))
    pruning = await world.prune()
    assert pruning.going[Reason.EVENT_FILE].objects == 1
    assert (await world.move()).number == 4
    assert world.destination.tables == world.tables
    await ensure_whole(world)


@on_trio
async def test_reports_are_kept_for_a_while() -> None:
    world = await moved(3)
    assert Reason.REPORT not in (await world.prune()).going
    world.clock.moment += timedelta(days=31)
    assert (await world.prune()).going[Reason.REPORT].objects == 2
    assert f"{PREFIX}movements/3/progress/worker.json" in await world.keys()
    assert (await world.prune(reports=timedelta(0))).going == {}


@on_trio
async def test_keys_of_an_unknown_kind_stay() -> None:
    world = await moved(2)
    unknown = [
        f"{PREFIX}{rest}"
        for rest in (
            "imports/x/1/a/full/0",
            "binaries/packs/1",
            "events/1/a/full/0/more",
            "events/9/a/full/0.jsonl.zst",
        )
    ]
    for key in unknown:
        await world.store.put(ObjectKey(key), b"", PutCondition.ABSENT)
    await world.prune()
    assert set(unknown) <= await world.keys()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (object_keys.binary_key(FLOW, BinaryId("ab" * 32)), None),
        (object_keys.binary_key(FLOW, BinaryId("cd" * 32)), Reason.BINARY_FILE),
        (object_keys.state_key(FLOW, StreamName("a/b"), 2, 1), Reason.STATE),
        (object_keys.state_key(FLOW, StreamName("a/b"), 4, 1), None),
        (object_keys.state_part_key(FLOW, StreamName("parts"), "x"), Reason.STATE_PART),
        (object_keys.state_part_key(FLOW, StreamName("a/b"), "3.x"), Reason.STATE_PART),
        (object_keys.state_part_key(FLOW, StreamName("a/b"), "4.x"), None),
        (object_keys.movement_key(FLOW, 1), None),
        (object_keys.flow_key(FLOW), None),
        (object_keys.progress_key(FLOW, 1, "w"), Reason.REPORT),
        (object_keys.progress_key(FLOW, 2, "w"), None),
        (object_keys.feedback_key(FLOW, 1, "app"), Reason.REPORT),
        (ObjectKey(f"{PREFIX}outbox/0000000001/movement.settled.ab.json"), Reason.EVENT),
        (ObjectKey(f"{PREFIX}outbox/0000000002/movement.settled.ab.json"), None),
        (ObjectKey(f"{PREFIX}outbox/day-2026-01-01/endpoint.disabled.ab.json"), Reason.EVENT),
        (ObjectKey(f"{PREFIX}outbox/day-2026-01-02/endpoint.disabled.ab.json"), None),
        (object_keys.history_key(FLOW, 1), Reason.EVENT),
        (object_keys.history_key(FLOW, 2), None),
        (object_keys.log_key(FLOW, 1, EventFileId(1, StreamName("a"), Phase.FULL, 0), 1), Reason.EVENT),
        (object_keys.maintenance_key(FLOW), None),
        (object_keys.flow_key(FlowName("crm/2")), None),
        (ObjectKey("flows/crm2/events/1/a/full/0.jsonl.zst"), None),
    ],
)
def test_every_kind_of_key_is_recognised(key: ObjectKey, reason: Reason | None) -> None:
    needed = Needed(
        FLOW, 3, set(), {bytes.fromhex("ab" * 32)}, reports_from=2, events_from=2, events_since=date(2026, 1, 2)
    )
    assert reason_to_delete(key, needed) is reason


@on_trio
async def test_random_histories_end_with_every_destination_equal() -> None:
    for seed in range(12):
        await random_history(random.Random(seed))


async def random_history(dice: random.Random) -> None:
    world = WiderWorld({"a": numbered(*range(12)), "b": numbered(1)})
    await world.move()
    for _ in range(12):
        match dice.choice(["edit", "edit", "move", "move", "crash", "add", "bring", "bring", "compact", "prune"]):
            case "edit":
                edit(dice, world)
            case "move":
                await world.move()
            case "crash":
                with may_crash():
                    await world.move(Faults(crash_at=dice.randrange(80)))
                with may_crash():
                    await world.move(Faults(crash_at=dice.randrange(80)))
                await world.move()
            case "add":
                await world.add_destination(f"destination {len(world.further)}")
            case "bring" if world.further:
                name = dice.choice(sorted(world.further))
                with may_crash():
                    await world.bring(name, Faults(crash_at=dice.randrange(60)))
            case "compact":
                await world.compact()
            case "prune":
                await world.prune()
            case _:
                pass
    await world.move()
    for name, destination in world.further.items():
        assert (await world.bring(name)).status is Status.SUCCESS
        assert destination.tables == world.tables
    assert {
        name: rows for name, rows in world.destination.tables.items() if rows or name in world.tables
    } == world.tables
    await world.prune()
    await ensure_whole(world)


def edit(dice: random.Random, world: WiderWorld) -> None:
    table = world.tables[dice.choice(["a", "b"])]
    for _ in range(dice.randrange(1, 6)):
        number = dice.randrange(20)
        if dice.random() < 0.4:
            table.pop(number, None)
        else:
            table[number] = f"text {dice.random()}"
