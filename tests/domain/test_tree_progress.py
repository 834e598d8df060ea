"""The time left of a Movement of a directory tree, in simulated runs: entries cost time, and so do their bytes."""

from __future__ import annotations

import random
import statistics

from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.progress.model import ProgressModel
from pipeline.domain.progress.scores import SCORED_PERCENTS, ScoreKeeper, Shown
from pipeline.domain.progress.work import BYTES_A_UNIT
from tests.domain.test_progress import Importers

RUNS, BLOCK = 60, 500
FILES, STREAM = Label("@files"), StreamName("@files")
MEGABYTE = 1_000_000
COUNTED_AFTER = 6.0


def blocks(dice: random.Random) -> list[int]:
    """Return the bytes in each block of a tree, directory after directory, with very different files in each."""
    found: list[int] = []
    while len(found) < dice.uniform(300, 900):
        typical = BLOCK * 10 ** dice.uniform(2.5, 5.2)
        found += [int(typical * dice.uniform(0.5, 3)) for _ in range(dice.randint(1, 40))]
    return found


def run(dice: random.Random, *, is_resumed: bool = False) -> tuple[Shown, ...]:
    """Run a Movement as the engine does; return what was shown, and what came.

    A resumed one finds the first third of the tree stored already.
    """
    model, scores, percent = ProgressModel(0.0), ScoreKeeper(), 0
    importers, tree = Importers(model, dice.randint(1, 3)), blocks(dice)
    byte = 1 / (MEGABYTE * dice.uniform(50, 200))
    entry = byte * BYTES_A_UNIT * dice.uniform(0.5, 2)
    load_entry, load_byte = entry * dice.uniform(0.3, 1.5), byte * dice.uniform(0.3, 1.5)
    model.plan(FILES, [STREAM])
    now = reported = 0.0
    chunk = records = content = 0
    for at, size in enumerate(tree):
        if is_resumed and at < len(tree) // 3:
            now += BLOCK * 1e-5
            model.read(FILES, BLOCK, now, changed=False, unchanged_bytes=size)
            continue
        now += (BLOCK * entry + size * byte) * dice.uniform(0.8, 1.25)
        if now > COUNTED_AFTER:
            model.expect(FILES, STREAM, BLOCK * len(tree), sum(tree))
        while reported + 1 <= now:
            reported += 1
            importers.advance(reported)
            before, percent = percent, model.percent(reported)
            assert before <= percent < 100
            scores.note(percent, model.time_left(reported), reported)
        model.read(FILES, BLOCK, now, content_bytes=size)
        records, content = records + BLOCK, content + size
        if content >= min(32 << min(chunk, 8), 256) * MEGABYTE or at + 1 == len(tree):
            seconds = (records * load_entry + content * load_byte) * dice.uniform(0.8, 1.25)
            file = EventFileId(1, STREAM, Phase.FULL, chunk)
            importers.add(file, records, seconds, now, content_bytes=content)
            chunk, records, content = chunk + 1, 0, 0
    model.completed(FILES, now)
    while not importers.is_idle:
        reported += 1
        importers.advance(reported)
        scores.note(model.percent(reported), model.time_left(reported), reported)
    return scores.ended(max(now, importers.now))


def test_the_truth_is_in_the_range_though_files_differ_in_size() -> None:
    """Of all ranges, at least 80 % hold the truth; at half time the median error is at most 15 %."""
    shown = [one for seed in range(RUNS) for one in run(random.Random(seed))]
    assert len(shown) > RUNS
    for percent in SCORED_PERCENTS:
        ranges = [one for one in shown if one.percent == percent]
        held = [one.low <= (one.came or 0) <= one.high for one in ranges]
        assert sum(held) >= 0.8 * len(ranges), percent
    errors = [abs((one.low + one.high) / 2 - one.came) / one.came for one in shown if one.percent == 50 and one.came]
    assert statistics.median(errors) <= 0.15


def test_what_an_earlier_attempt_has_stored_is_not_expected_again() -> None:
    half = [one for seed in range(RUNS) for one in run(random.Random(seed), is_resumed=True) if one.percent == 50]
    assert len(half) > RUNS // 2
    errors = [abs((one.low + one.high) / 2 - one.came) / one.came for one in half if one.came]
    assert statistics.median(errors) <= 0.15


def test_rows_to_come_without_known_contents_have_as_many_as_those_that_were_read() -> None:
    """A tree that was moved before has a known number of entries, and nobody knows which of them have changed."""
    model = ProgressModel(0.0)
    model.plan(FILES, [STREAM])
    model.expect(FILES, STREAM, 4_000)
    for second in range(1, 11):
        model.read(FILES, 100, float(second), content_bytes=10 * MEGABYTE)
        model.stored(FILES, EventFileId(2, STREAM, Phase.FULL, second), 100, float(second), content_bytes=10 * MEGABYTE)
        model.imported(FILES, EventFileId(2, STREAM, Phase.FULL, second), 100, 0.5, float(second))
    left = model.time_left(10.0)
    assert left is not None
    assert left.low <= 30 <= left.high
