"""Records that the source cannot give: they are named and tried again, and all others are moved."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest

from pipeline.domain.movement import Status
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export import stream_export
from pipeline.engine.movers.mover import Mover
from pipeline.ports.source import RowBlock, Snapshot, UnreadRows
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, may_crash, numbered
from tests.fakes.rows import MemoryBlock
from tests.fakes.source import MemorySource
from tests.loops import on_trio


@on_trio
async def test_a_record_that_the_source_cannot_give_is_named_and_the_others_arrive() -> None:
    world = WiderWorld({"a": numbered(*range(10)), "b": numbered(1)}, unreadable={"text 3", "text 9"})
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert world.destination.tables == {"a": numbered(*(set(range(10)) - {3, 9})), "b": numbered(1)}
    assert (movement.totals.upserts, movement.totals.rejected, movement.rejections.count) == (9, 2, 2)
    assert "a, key [3], column text was rejected at the source: text 3 cannot be read; mend it" in movement.problems
    again = await world.move()
    assert (again.status, again.totals.files_exported, again.rejections) == (Status.INCOMPLETE, 0, movement.rejections)
    world.unreadable.clear()
    mended = await world.move()
    assert (mended.status, mended.totals.upserts, mended.problems) == (Status.SUCCESS, 2, ())
    assert world.destination.tables == world.tables


@on_trio
async def test_a_record_that_becomes_unreadable_keeps_its_older_version_until_it_can_be_given_or_goes() -> None:
    world = WiderWorld({"a": numbered(*range(10))})
    await world.move()
    world.tables["a"][4] = world.tables["a"][5] = world.tables["a"][10] = "bad"
    world.unreadable.add("bad")
    for _ in range(2):
        movement = await world.move()
        assert (movement.status, movement.rejections.count) == (Status.INCOMPLETE, 3)
        assert world.destination.tables["a"] == numbered(*range(10))
    world.tables["a"][4] = "text 4"
    del world.tables["a"][5], world.tables["a"][10]
    movement = await world.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 0, 1)
    assert world.destination.tables == world.tables


@on_trio
async def test_a_stream_of_rejected_records_alone_is_tried_again() -> None:
    world = WiderWorld({"a": {1: "bad", 2: "bad"}}, unreadable={"bad"})
    assert (await world.move()).status is Status.INCOMPLETE
    assert world.destination.tables == {"a": {}}
    world.unreadable.clear()
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_a_derived_flow_lacks_what_its_origin_could_not_give() -> None:
    world = WiderWorld({"a": numbered(1, 2)}, unreadable={"text 2"})
    await world.move()
    copy = await world.add_destination("copy")
    movement = await world.bring(copy)
    assert movement.status is Status.INCOMPLETE
    assert "key [2]" in movement.problems[0]
    world.unreadable.clear()
    await world.move()
    assert (await world.bring(copy)).status is Status.SUCCESS


@pytest.mark.parametrize("seed", range(25))
@on_trio
async def test_whatever_is_rejected_meanwhile_the_destination_has_all_in_the_end(seed: int) -> None:
    random = Random(seed)
    world = WiderWorld({"a": {}})
    for step in range(12):
        rows = world.tables["a"]
        for number in random.sample(range(40), 6):
            rows[number] = f"text {random.randrange(4)}"
        for number in random.sample(sorted(rows), len(rows) // 8):
            del rows[number]
        world.unreadable = {f"text {n}" for n in range(4) if random.random() < 0.3 and step < 11}
        before = dict(world.destination.tables.get("a", {}))
        faults = Faults(crash_at=random.randrange(60))
        with may_crash():
            await world.move(faults if random.random() < 0.3 else None)
        movement = await world.move()
        bad = {number for number, text in rows.items() if text in world.unreadable and before.get(number) != text}
        assert movement.rejections.count == len(bad)
        assert world.destination.tables["a"].keys() - bad == rows.keys() - bad
        assert all(world.destination.tables["a"][number] == rows[number] for number in rows.keys() - bad)
    assert movement.status is Status.SUCCESS


@dataclass
class PartlyUnread(MemorySource):
    """A source that cannot read the rows with some numbers: `unread` holds the first of each part and the end."""

    unread: Sequence[tuple[int, int]] = ()

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        async with super().open_snapshot() as snapshot:
            yield _PartlyUnreadSnapshot(snapshot, self)


@dataclass
class _PartlyUnreadSnapshot:
    whole: Snapshot
    source: PartlyUnread

    async def streams(self) -> Sequence[StreamSchema]:
        return await self.whole.streams()

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[RowBlock | UnreadRows]]:
        async def blocks() -> AsyncGenerator[RowBlock | UnreadRows, None]:
            rows = sorted(self.source.tables[schema.stream].items())
            start = 0
            for first, end in [*self.source.unread, (1000, 1000)]:
                before = [row for row in rows if start <= row[0] < first]
                for at in range(0, len(before), 3):
                    yield MemoryBlock(before[at : at + 3])
                if first < end:
                    yield UnreadRows((first,), (end,), "it may not be listed; grant the permission")
                start = end

        async with aclosing(blocks()) as opened:
            yield opened


@pytest.mark.parametrize("seed", range(25))
@on_trio
async def test_rows_that_cannot_be_read_stay_as_they_are_until_they_can(seed: int) -> None:
    random = Random(seed)
    world = WiderWorld({"a": {}})
    for step in range(10):
        rows = world.tables["a"]
        rows |= {number: f"text {random.randrange(4)}" for number in random.sample(range(60), 12)}
        for number in random.sample(sorted(rows), len(rows) // 6):
            del rows[number]
        bounds = sorted(random.sample(range(61), 4)) if step % 3 else []
        unread = list(zip(bounds[::2], bounds[1::2], strict=True))
        before = dict(world.destination.tables.get("a", {}))
        source = PartlyUnread(world.tables, unread=unread)
        movement = await Mover(world.context(), FLOW, source, world.destination, "worker").run()
        hidden = {number for first, end in unread for number in range(first, end)}
        expected = {n: text for n, text in rows.items() if n not in hidden}
        expected |= {n: text for n, text in before.items() if n in hidden}
        assert world.destination.tables["a"] == expected
        assert movement.status is (Status.INCOMPLETE if unread else Status.SUCCESS)
        assert movement.rejections.count == len(unread)


@on_trio
async def test_a_record_whose_line_nobody_could_read_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_export, "MAX_LINE_BYTES", 200)
    world = WiderWorld({"a": numbered(*range(6)) | {3: "x" * 200}})
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert world.destination.tables["a"] == numbered(0, 1, 2, 4, 5)
    (rejection,) = movement.rejections.named
    assert (rejection.stream, rejection.key) == ("a", "[3]")
    assert "bytes in an Event File" in rejection.reason
