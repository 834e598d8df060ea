"""The time left of a Movement, in simulated runs: the truth is in the range, and the middle is near it."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.progress.model import ProgressModel, TimeLeft
from pipeline.domain.progress.scores import SCORED_PERCENTS, ScoreKeeper, Shown

RUNS = 200


@dataclass(frozen=True)
class Table:
    """A table of a simulated source: rows, and seconds a row for reading and for importing."""

    name: str
    rows: int
    reading: float
    importing: float
    phase: Phase

    @property
    def label(self) -> Label:
        return Label(self.name)


def tables(dice: random.Random) -> list[Table]:
    """Return some tables: their rates differ up to threefold, their sizes sixtyfold."""
    base, importing = dice.uniform(2e-6, 2e-5), dice.uniform(0.3, 3)
    phase = dice.choice(list(Phase))
    found = []
    for number in range(dice.randint(1, 8)):
        reading = base * dice.uniform(0.7, 1.5)
        rows = int(10 ** dice.uniform(4.7, 6.5))
        found.append(Table(f"t{number}", rows, reading, reading * importing * dice.uniform(0.8, 1.3), phase))
    return found


class Importers:
    """Load files as the engine does: files of one lane one after the other, others side by side, the oldest first."""

    def __init__(self, model: ProgressModel, at_once: int) -> None:
        self._model, self._free = model, at_once
        self._waiting: list[tuple[EventFileId, int, float]] = []
        self._running: list[tuple[float, int, EventFileId, int, float]] = []
        self._busy_lanes: set[str] = set()
        self.now = 0.0

    def add(self, file: EventFileId, records: int, seconds: float, at: float, *, content_bytes: int = 0) -> None:
        self.advance(at)
        self._model.stored(Label(file.stream), file, records, at, content_bytes=content_bytes)
        self._waiting.append((file, records, seconds))
        self._start(at)

    def advance(self, until: float) -> None:
        while self._running and self._running[0][0] <= until:
            self.now, _, file, records, seconds = heapq.heappop(self._running)
            self._free += 1
            self._busy_lanes.discard(file.stream)
            self._model.imported(Label(file.stream), file, records, seconds, self.now)
            self._start(self.now)

    def _start(self, at: float) -> None:
        for entry in list(self._waiting):
            file, records, seconds = entry
            is_free = file.phase is Phase.FULL or file.stream not in self._busy_lanes
            if self._free and is_free:
                self._waiting.remove(entry)
                self._free -= 1
                self._busy_lanes.add(file.stream)
                heapq.heappush(self._running, (at + seconds, file.chunk, file, records, seconds))

    @property
    def is_idle(self) -> bool:
        return not self._running


def run(dice: random.Random, report: Callable[[ProgressModel, float], None]) -> float:
    """Run a Movement; call `report` once a simulated second. Return when it ended.

    Each block is read, and each file loaded, with a noise of its own and a drift that lasts some time.
    """
    model, all_tables = ProgressModel(0.0), tables(dice)
    for table in all_tables:
        model.plan(table.label, [StreamName(table.name)])
        model.expect(table.label, StreamName(table.name), int(table.rows * dice.uniform(0.95, 1.1)))
    importers, now, reported, drift = Importers(model, dice.randint(1, 4)), 0.0, 0.0, 1.0

    def tick(until: float) -> None:
        nonlocal reported
        while reported + 1 <= until:
            reported += 1
            importers.advance(reported)
            report(model, reported)

    for table in all_tables:
        left, chunk, waiting = table.rows, 0, 0
        while left:
            drift = min(1.3, max(0.75, drift * dice.uniform(0.985, 1.0155)))
            rows = min(left, 5000)
            now += rows * table.reading * drift * dice.uniform(0.8, 1.25)
            tick(now)
            model.read(table.label, rows, now)
            left, waiting = left - rows, waiting + rows
            if waiting >= 50_000 or not left:
                file = EventFileId(1, StreamName(table.name), table.phase, chunk)
                importers.add(file, waiting, waiting * table.importing * drift * dice.uniform(0.8, 1.25), now)
                chunk, waiting = chunk + 1, 0
        model.completed(table.label, now)
    while not importers.is_idle:
        tick(reported + 1)
    return max(now, importers.now)


def scored(seed: int) -> tuple[Shown, ...]:
    """Return what one simulated run has shown and what came."""
    scores, percents = ScoreKeeper(), [0]

    def report(model: ProgressModel, at: float) -> None:
        percent = model.percent(at)
        assert percents[-1] <= percent < 100
        percents.append(percent)
        scores.note(percent, model.time_left(at), at)

    end = run(random.Random(seed), report)
    return scores.ended(end)


def test_the_truth_is_in_the_range_and_the_middle_is_near_it() -> None:
    """Of 200 runs, at least 80 % of all ranges hold the truth; at half time the median error is at most 15 %."""
    all_shown = [shown for seed in range(RUNS) for shown in scored(seed)]
    assert len(all_shown) > 2 * RUNS
    for percent in SCORED_PERCENTS:
        ranges = [shown for shown in all_shown if shown.percent == percent]
        held = [shown.low <= (shown.came or 0) <= shown.high for shown in ranges]
        assert sum(held) >= 0.8 * len(ranges), percent
    half = [(shown, shown.came) for shown in all_shown if shown.percent == 50]
    errors = [abs((shown.low + shown.high) / 2 - came) / came for shown, came in half if came]
    assert statistics.median(errors) <= 0.15
    widths = [shown.high / shown.low for shown in all_shown if shown.low > 0]
    assert statistics.median(widths) <= 2.2  # or nobody would learn anything from a range


def file(number: int, phase: Phase = Phase.FULL, stream: str = "a") -> EventFileId:
    return EventFileId(1, StreamName(stream), phase, number)


A, B, T = Label("a"), Label("b"), StreamName("a")


def halfway(expected: int | None = 200_000) -> ProgressModel:
    """Return a model after 40 seconds of a table of 200,000 rows, half of which are read and a quarter imported."""
    model = ProgressModel(0.0)
    model.plan(A, [T])
    if expected is not None:
        model.expect(A, T, expected)
    for second in range(1, 41):
        model.read(A, 2_500, float(second))
        if second % 10 == 0:
            model.stored(A, file(second), 25_000, float(second))
    for number, at in ((10, 20.0), (20, 40.0)):
        model.imported(A, file(number), 25_000, 10.0, at)
    return model


def test_nothing_is_shown_while_it_is_not_known_how_much_is_to_come() -> None:
    assert halfway(None).time_left(40.0) is None
    assert halfway().time_left(40.0) is not None


def test_nothing_is_shown_before_anything_was_imported() -> None:
    model = ProgressModel(0.0)
    model.plan(A, [T])
    model.expect(A, T, 1000)
    for at in (1.0, 2.0, 30.0):
        model.read(A, 100, at)
    model.stored(A, file(0), 100, 31.0)
    assert model.time_left(31.0) is None
    model.imported(A, file(0), 100, 1.0, 33.0)
    assert model.time_left(33.0) is not None


def test_the_longest_lane_counts_and_not_the_sum() -> None:
    """Files of one stream that load in order take as long as one after the other, however many importers there are."""
    lefts = []
    for phase in Phase:
        model = ProgressModel(0.0)
        model.plan(A, [T])
        model.expect(A, T, 1400)
        model.read(A, 1400, 1.0)
        for number in range(14):
            model.stored(A, file(number, phase), 100, 1.0)
        model.completed(A, 1.0)
        for number in range(4):
            model.imported(A, file(number, phase), 100, 10.0, 11.0 + number)
        left = model.time_left(15.0)
        assert left is not None
        lefts.append(left.likely)
    side_by_side, in_order = lefts
    assert in_order > 2 * side_by_side
    assert 90 <= in_order <= 105


def hindered(slowness: float) -> ProgressModel:
    """Return a model in which each importer seems as fast as ever, while all together take `slowness` times as long."""
    model = ProgressModel(0.0)
    model.plan(A, [T])
    model.expect(A, T, 400_000)
    at = 0.0
    for number in range(20):
        at += 1.0
        model.read(A, 10_000, at)
        model.stored(A, file(number), 10_000, at)
        at += 1.0 * slowness
        model.imported(A, file(number), 10_000, 1.0, at)
    return model


def test_the_pace_of_late_counts_where_the_work_hinders_itself() -> None:
    even, slow = hindered(1.0).time_left(40.0), hindered(3.0).time_left(80.0)
    assert even is not None
    assert slow is not None
    assert slow.likely > 1.2 * even.likely
    assert slow.high / slow.low > even.high / even.low  # the two disagree, so less is known


def test_a_failed_file_is_no_longer_waited_for() -> None:
    model = halfway()
    before = model.time_left(40.0)
    model.ended(file(30), 40.0)
    after = model.time_left(40.0)
    assert before is not None
    assert after is not None
    assert after.likely <= before.likely


def test_a_movement_is_stalled_after_an_unusual_pause_alone() -> None:
    model = halfway()
    assert model.stalled_seconds(60.0) == 0
    assert model.stalled_seconds(75.0) == 35.0
    model.moved(76.0)
    assert model.stalled_seconds(80.0) == 0
    assert model.stalled_seconds(76.0 + 100) == 0  # it has paused for 36 seconds before


def test_while_something_is_paused_the_percent_stands_and_no_time_is_left() -> None:
    model = halfway()
    percent, left = model.percent(40.0), model.time_left(40.0)
    model.pause(41.0, is_paused=True)
    assert {model.percent(at) for at in (41.0, 100.0, 4000.0)} == {percent}
    assert model.time_left(41.0) is model.time_left(4000.0) is None
    assert (model.stalled_seconds(4000.0), model.worked(4000.0)) == (0, 40.0)
    model.pause(4000.0, is_paused=False)
    assert (model.percent(4000.0), model.time_left(4000.0)) == (percent, left)
    model.read(A, 2_500, 4001.0)  # as fast as before: the pause is in no rate
    model.imported(A, file(30), 25_000, 10.0, 4020.0)
    after = model.time_left(4020.0)
    assert after is not None
    assert left is not None
    assert after.likely < left.likely
    assert model.percent(4020.0) > percent


def test_what_is_not_paused_moves_the_percent_on() -> None:
    model = halfway()
    model.pause(40.0, is_paused=True)
    before = model.percent(50.0)
    model.imported(A, file(30), 25_000, 10.0, 60.0)
    assert (model.worked(70.0), model.time_left(70.0)) == (60.0, None)
    assert model.percent(70.0) > before


def test_a_movement_that_is_carried_on_begins_at_the_percent_that_it_had() -> None:
    """The time since then has its share of the percents that were left: half of it, half of them."""
    again = ProgressModel(0.0, 60)
    assert again.percent(0.0) == 60
    again.plan(A, [T])
    again.expect(A, T, 2000)
    for second in range(1, 11):
        again.read(A, 100, float(second), changed=False)
    assert again.percent(10.0) == 80


def test_files_that_an_earlier_process_has_imported_are_not_waited_for() -> None:
    model = halfway()
    model.read(A, 100_000, 41.0)
    model.completed(A, 41.0)
    before = model.time_left(41.0)
    model.waiting(A, 1)
    after = model.time_left(41.0)
    assert before is not None
    assert after is not None
    assert after.likely < 0.7 * before.likely


def test_what_was_shown_is_kept_with_what_came() -> None:
    scores = ScoreKeeper()
    for percent, low, at in ((10, 90.0, 10.0), (26, 70.0, 26.0), (30, 65.0, 30.0), (80, 15.0, 80.0)):
        scores.note(percent, TimeLeft(low, low + 10), at)
    scores.note(99, None, 99.0)
    assert scores.ended(101.0) == (Shown(25, 70.0, 80.0, 75.0), Shown(75, 15.0, 25.0, 21.0))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 500), st.floats(0, 100)), max_size=60), st.data())
def test_percent_never_falls_and_a_range_is_one(steps: list[tuple[int, int, float]], data: st.DataObject) -> None:
    percent = data.draw(st.integers(0, 99))
    model, now = ProgressModel(0.0, percent), 0.0
    for kind, number, seconds in steps:
        now += seconds
        label = data.draw(st.sampled_from((A, B)))
        match kind:
            case 0:
                model.plan(label, data.draw(st.lists(st.sampled_from((T, StreamName("b"))))))
                model.expect(label, T, number)
            case 1:
                model.read(label, number, now)
            case 2:
                model.stored(label, file(number, data.draw(st.sampled_from(Phase)), label), number, now)
            case 3:
                model.imported(label, file(number, stream=label), number, seconds, now)
            case 4:
                model.completed(label, now)
            case 5:
                model.ended(file(number, stream=label), now)
            case 6:
                model.pause(now, is_paused=number % 2 == 0)
            case 7:
                model.waiting(label, number)
            case _:
                model.moved(now)
        before, percent = percent, model.percent(now)
        assert before <= percent < 100
        if (left := model.time_left(now)) is not None:
            assert 0 <= left.low <= left.high
        assert model.stalled_seconds(now) >= 0
