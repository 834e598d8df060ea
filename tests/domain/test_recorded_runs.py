"""The time left in recorded runs: `recorded_runs.json` has what was noted in each, and when, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.domain.constraints import ForeignKey, Index, IndexColumn, TableConstraints
from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.progress.model import ProgressModel
from pipeline.domain.progress.scores import SCORED_PERCENTS, ScoreKeeper
from pipeline.domain.schema import Column, StreamSchema
from pipeline.engine.estimates.finish_passes import finish_passes

RECORDED: dict[str, Any] = orjson.loads(Path(__file__).with_name("recorded_runs.json").read_bytes())
A, T = Label("a"), StreamName("a")


def note(model: ProgressModel, kind: str, at: float, label: str = "", *values: Any) -> None:
    """Note one line of a recorded run."""
    group = Label(label)
    match kind:
        case "plan":
            model.plan(group, values[0])
        case "expect":
            model.expect(group, *values)
        case "read":
            model.read(group, values[0], at)
        case "stored":
            model.stored(group, EventFileId(1, StreamName(label), Phase.FULL, values[0]), values[1], at)
        case "imported":
            model.imported(group, EventFileId(1, StreamName(label), Phase.FULL, values[0]), values[1], values[2], at)
        case "completed":
            model.completed(group, at)
        case _:
            model.finishing(at)


def looks(recorded: dict[str, Any]) -> Iterator[tuple[ProgressModel, float]]:
    """Give the model of a recorded run, as it is after each second."""
    model, events = ProgressModel(0.0), recorded["events"]
    model.passes(recorded["passes"])
    for second in range(1, int(recorded["ended"])):
        while events and events[0][1] <= second:
            note(model, *events[0])
            events = events[1:]
        yield model, float(second)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_is_half_done_at_half_time_and_its_ranges_hold_what_came(name: str) -> None:
    """Indexes and foreign keys take half of these runs. Without them in the estimate, 95 % was shown at half time."""
    scores, ended, percents = ScoreKeeper(), RECORDED[name]["ended"], [0]
    for model, at in looks(RECORDED[name]):
        percents.append(model.percent(at))
        scores.note(percents[-1], model.time_left(at), at)
    assert percents == sorted(percents)
    assert 35 <= percents[len(percents) // 2] <= 60
    shown = scores.ended(ended)
    assert [one.percent for one in shown] == list(SCORED_PERCENTS)
    assert all(one.came is not None and one.low <= one.came <= one.high for one in shown)


def loaded(rows: int = 10_000, passes: int = 4) -> ProgressModel:
    """Return a model after 50 seconds, in which a stream was read and loaded whole."""
    model = ProgressModel(0.0)
    model.passes({T: passes})
    model.plan(A, [T])
    model.expect(A, T, rows)
    for tenth in range(10):
        file = EventFileId(1, T, Phase.FULL, tenth)
        model.read(A, rows // 10, 5.0 * tenth + 4)
        model.stored(A, file, rows // 10, 5.0 * tenth + 4)
        model.imported(A, file, rows // 10, 1.0, 5.0 * tenth + 5)
    model.completed(A, 50.0)
    return model


@pytest.mark.parametrize(("passes", "likely"), [(0, 0), (4, 50), (8, 100)])
def test_each_pass_at_the_end_takes_a_share_of_the_time_before(passes: int, likely: float) -> None:
    left = loaded(passes=passes).time_left(50.0)
    assert left is not None
    assert left.likely == pytest.approx(likely, abs=1)


@pytest.mark.parametrize(("at", "likely"), [(50, 50), (75, 25), (95, 11), (150, 25), (450, 100)])
def test_while_the_destination_is_finished_the_clock_runs_and_what_takes_longer_is_not_nearly_done(
    at: float, likely: float
) -> None:
    model = loaded()
    model.finishing(50.0)
    left = model.time_left(at)
    assert left is not None
    assert left.likely == pytest.approx(likely, abs=1)
    assert model.stalled_seconds(at) == 0


def test_a_table_of_one_row_says_nothing_of_a_large_one() -> None:
    model = ProgressModel(0.0)
    for label, rows in (("a", 1), ("b", 100_000)):
        model.plan(Label(label), [StreamName(label)])
        model.expect(Label(label), StreamName(label), rows)
    model.read(A, 1, 20.0)
    model.stored(A, EventFileId(1, T, Phase.FULL, 0), 1, 20.0)
    model.imported(A, EventFileId(1, T, Phase.FULL, 0), 1, 1.0, 21.0)
    model.completed(A, 21.0)
    assert model.look(22.0) == (None, None)


def test_the_range_is_wider_once_the_end_has_moved() -> None:
    """The same pace at the end of both; one was four times as slow in its first half."""
    widths = []
    for slowness in (1.0, 4.0):
        model, at = ProgressModel(0.0), 0.0
        model.plan(A, [T])
        model.expect(A, T, 400_000)
        for number in range(30):
            at += slowness if number < 15 else 1.0
            model.read(A, 10_000, at)
            model.stored(A, EventFileId(1, T, Phase.FULL, number), 10_000, at)
            model.imported(A, EventFileId(1, T, Phase.FULL, number), 10_000, 0.5, at)
            left = model.time_left(at)
        assert left is not None
        widths.append(left.high / left.low)
    assert widths[1] > 1.2 * widths[0]


def test_a_group_takes_time_beside_its_rows() -> None:
    lefts = []
    for beside in (0.0, 3.0):
        model, at = ProgressModel(0.0), 0.0
        for number in range(20):
            model.plan(Label(f"t{number}"), [StreamName(f"t{number}")])
            model.expect(Label(f"t{number}"), StreamName(f"t{number}"), 1000)
        for number in range(10):
            at += 3.0
            model.read(Label(f"t{number}"), 1000, at, changed=False)
            at += beside
            model.completed(Label(f"t{number}"), at)
        left = model.time_left(at)
        assert left is not None
        lefts.append(left.likely)
    assert lefts[1] > 1.7 * lefts[0]


def test_the_passes_are_those_of_streams_that_were_not_loaded_before() -> None:
    constraints = TableConstraints(
        (Index("i", (IndexColumn("x"),)), Index("j", (IndexColumn("x"),))),
        (ForeignKey("f", ("x",), StreamName("b"), ("id",)),),
    )
    columns = (Column("id", "integer", False), Column("x", "integer", True))
    schemas = [
        StreamSchema(
            StreamName(name), Label(name), columns, ("id",), {"sqlite": {MEMBER: constraints_to_json(constraints)}}
        )
        for name in ("a", "b")
    ]
    assert finish_passes(schemas, {StreamName("b")}) == {"a": 3}
