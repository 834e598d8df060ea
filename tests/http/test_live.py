"""The live parts of pages: made once for all who look, and asked for less often the more look."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from pipeline.codec.documents.progress import GroupProgress, Progress
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.progress.model import TimeLeft
from pipeline.domain.progress.shown import ShownProgress
from pipeline.http.live import FRESH_SECONDS, PARTS_KEPT, LiveParts, Sample
from pipeline.http.pages.charts import lags, movement_charts, rate_chart
from pipeline.http.pages.views import UnderWay
from tests.loops import run_on_trio

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("viewers", "pause"), [(1, 2), (15, 2), (100, 10), (1000, 60)])
def test_the_pause_and_the_age_of_a_part_grow_with_the_viewers(viewers: int, pause: int) -> None:
    made, asked = 0, 0

    async def make(seconds: int) -> str:
        nonlocal made
        made += 1
        return str(seconds)

    async def view(live: LiveParts, number: int) -> None:
        nonlocal asked
        await anyio.sleep(number / viewers)
        while True:
            asked += 1
            await anyio.sleep(int(await live.part("/flows/crm", 2.0, make)))

    async def scenario() -> tuple[int, int]:
        live = LiveParts()
        with anyio.move_on_after(600):
            async with anyio.create_task_group() as group:
                for number in range(viewers):
                    group.start_soon(view, live, number)
        among_others = live.next_pause(2.0)
        await anyio.sleep(100)
        return among_others, live.next_pause(2.0)

    among_others, alone = run_on_trio(scenario)
    assert made <= 20 + 600 / max(1, pause / 4)
    assert pause <= among_others <= 1.3 * pause
    assert alone == 2
    assert asked <= 600 * max(10, viewers / 60) + 2 * viewers


def test_what_was_noted_of_a_movement_becomes_two_lines() -> None:
    samples = [Sample(0.0, 0, 0), Sample(1.0, 1000, 0), Sample(2.0, 3000, 500), Sample(4.0, 3000, 2500)]
    assert rate_chart(samples[:2]) is None
    chart = rate_chart(samples)
    assert chart is not None
    assert chart.most == 2000
    assert chart.exported == "0.0,50.0 100.0,0.0 300.0,100.0"
    assert chart.imported == "0.0,100.0 100.0,75.0 300.0,50.0"
    assert chart.label == "Records a second: 0 exported and 1,000 imported now"


def test_what_was_noted_is_kept_while_no_other_movement_comes() -> None:
    async def scenario() -> tuple[int, int]:
        live = LiveParts()
        for number in range(PARTS_KEPT):
            live.sample("crm", number, 0, 0)
        await anyio.sleep(FRESH_SECONDS)
        known = len(live.sample("crm", 0, 10, 0))
        live.sample("crm", PARTS_KEPT, 0, 0)
        await anyio.sleep(FRESH_SECONDS)
        return known, len(live.sample("crm", 0, 20, 0))

    assert run_on_trio(scenario) == (2, 1)


def test_settled_movements_become_bars_with_words() -> None:
    events = [
        *settled(1, 1000, 2.0, "SUCCESS", lag=4),
        *settled(2, 0, 0.0, "FAILED", lag=0),
        *settled(3, 500, 0.5, "SUCCESS", lag=1),
    ]
    records, rate, lag = movement_charts(events)
    assert [bar.height for bar in records.bars] == [100.0, 2.0, 50.0]
    assert [bar.height for bar in rate.bars] == [50.0, 2.0, 100.0]
    assert [bar.height for bar in lag.bars] == [100.0, 2.0, 25.0]
    assert [bar.is_bad for bar in records.bars] == [False, True, False]
    assert rate.bars[2].words == "Movement 3: 1,000 a second, SUCCESS"
    assert records.label == (
        "Records of the last 3 Movements: 500 records in Movement 3, the latest; at most 1,000 records, in Movement 1"
    )
    assert movement_charts([]) == []


def test_a_movement_under_way_shows_what_is_done_so_far_and_the_time_left_or_what_is_paused() -> None:
    at_work = Progress("one", NOW, NOW)
    at_work.groups[Label("person")] = GroupProgress(rows_read=7, records_imported=3, files_stored=2, files_imported=1)
    gone = Progress("two", NOW, NOW)
    gone.groups[Label("person")] = GroupProgress(rows_read=1)
    shown = ShownProgress(40, TimeLeft(60.0, 125.0))
    assert UnderWay.of([at_work, gone], shown) == UnderWay(8, 3, 2, 1, 40, "1 m 0 s to 2 m 5 s left")
    assert UnderWay.of([gone], ShownProgress(40, None, 200.0)).time_left == "stalled for 3 m 20 s"
    assert UnderWay.of([gone], ShownProgress(40, None, 0.0, True, (Label("a"),))).time_left == "paused: group a"
    assert UnderWay.of([gone], ShownProgress(40, paused=True)).time_left == "paused"
    assert UnderWay.of([gone], None) == UnderWay(1, 0, 0, 0, 0, "")


def test_the_lag_of_a_group_is_from_its_export_to_its_import() -> None:
    assert lags(settled(1, 10, 1.0, "SUCCESS", lag=4)) == {"person": 4.0}
    assert lags(settled(1, 10, 1.0, "SUCCESS", lag=4)[:1]) == {}


def settled(number: int, records: int, seconds: float, status: str, lag: int) -> list[OutboxEvent]:
    flow, later = FlowName("crm"), NOW.replace(second=lag)
    data = {"status": status, "records": {"upserts": records, "deletes": 0, "rejected": 7}, "seconds": seconds}
    return [
        OutboxEvent(EventType.GROUP_EXPORTED, flow, number, NOW, "person"),
        OutboxEvent(EventType.GROUP_IMPORTED, flow, number, later, "person"),
        OutboxEvent(EventType.MOVEMENT_SETTLED, flow, number, later, "", data),
    ]
