"""Progress: how it is counted and shown."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.assembly.progress_counts import Tally
from pipeline.assembly.reporters import Fanout, LogReporter
from pipeline.cli.output.live import picture
from pipeline.cli.output.progress import plain_line, progress_object, repeat, show_progress
from pipeline.cli.output.text import columns, count, duration, printable, size
from pipeline.domain.ids import EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.progress.model import ProgressModel, TimeLeft
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.estimates.estimate import Estimate
from pipeline.ports.destination import Mark, Rejection, Violation
from pipeline.ports.reporter import (
    BinaryFileStored,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    ExportPlanned,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementPaused,
    MovementSettled,
    ProgressStored,
    RecordRejected,
    RowsRead,
    ViolationFound,
)

A, B = Label("a"), Label("b")
FILE = EventFileId(1, StreamName("a"), Phase.FULL, 0)
BEGUN = MovementBegun(FlowName("crm"), 1, resumed=False, labels=(A, B))
EVENTS: tuple[Event, ...] = (
    RowsRead(A, 100, 5_000),
    EventFileStored(A, FILE, 1_000, upserts=90, deletes=10),
    BinaryFileStored(50, reused=False),
    BinaryFileStored(50, reused=True),
    GroupComplete(A, listed=3, new=1),
    ImportPlanned(A, pending=1, skipped=2),
    EventFileImported(A, FILE, 1_000, Mark(upserts=90, deletes=10), 0.1),
    GroupComplete(B, listed=1, new=1),
    ImportPlanned(B, pending=1, skipped=0),
    EventFileFailed(B, FILE, "altered"),
    RecordRejected(A, Rejection(FILE, 2, "[1]", "no")),
    ViolationFound(Violation(StreamName("a"), "no parent")),
    MovementSettled(FlowName("crm"), 1, "INCOMPLETE"),
)


def counted(*events: Event) -> Tally:
    ticks = itertools.count()
    tally = Tally(clock=lambda: float(next(ticks)))
    for event in events:
        tally.report(event)
    return tally


def test_counts_are_kept_group_by_group() -> None:
    tally = counted(BEGUN, *EVENTS)
    group = tally.groups["a"]
    assert (group.rows_read, group.files_stored, group.bytes_stored) == (100, 1, 1_000)
    assert (group.files_imported, group.upserts_imported, group.deletes_imported) == (1, 90, 10)
    assert (group.listed, group.skipped, group.pending, group.rejected) == (3, 2, 1, 1)
    assert tally.groups["b"].files_failed == 1
    assert (tally.bytes_of_binaries, tally.rejected, tally.status) == (50, 1, "INCOMPLETE")


def test_percent_is_100_for_success_alone() -> None:
    stored = ProgressStored(ShownProgress(99, TimeLeft(1.0, 2.0)))
    assert counted(BEGUN, *EVENTS[:-1], stored).percent == 99
    ended = counted(BEGUN, stored, EVENTS[-1])
    assert (ended.percent, ended.time_left, ended.stalled_seconds) == (99, None, 0.0)
    assert counted(BEGUN, MovementSettled(FlowName("crm"), 1, "SUCCESS")).percent == 100
    assert counted().percent == 0


@given(st.lists(st.sampled_from((BEGUN, *EVENTS)), max_size=40), st.integers(0, 99))
def test_percent_never_goes_down(events: list[Event], seen: int) -> None:
    """Not below that of the process before, either. Without numbers of rows, it is that of what is done."""
    estimate = Estimate(0.0, seen)
    for at, event in enumerate(events):
        estimate.note(event, float(at))
        estimate.pause((B,) if at % 3 else (), float(at))
        assert seen <= estimate.percent(float(at)) < 100
        seen = estimate.percent(float(at))


def test_a_group_that_is_half_done_counts_so() -> None:
    estimate = Estimate(0.0)
    for event in (BEGUN, ExportPlanned(B, (StreamName("b"),)), *EVENTS[4:7]):
        estimate.note(event, 1.0)
    assert estimate.percent(1.0) == 50  # one of two groups is imported


def test_what_is_shown_is_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of groups it takes as long as they do."""
    estimate, times = Estimate(0.0), []
    for event in (BEGUN, *EVENTS[:7]):
        estimate.note(event, 1.0)
    find = ProgressModel._estimate

    def noted(model: ProgressModel, at: float) -> tuple[float, float] | None:
        times.append(at)
        return find(model, at)

    monkeypatch.setattr(ProgressModel, "_estimate", noted)
    shown = estimate.shown(90.0)
    assert times == [90.0]
    assert shown.percent == estimate.percent(90.0) > 0


def test_a_group_that_is_paused_and_not_done_is_named_in_place_of_the_time_left() -> None:
    estimate = Estimate(0.0)
    for event in (BEGUN, *EVENTS[:7]):
        estimate.note(event, 1.0)
    estimate.pause((A,), 1.0)
    assert estimate.shown(1.0).paused_groups == ()  # it is done
    estimate.pause((A, B), 1.0)
    shown = estimate.shown(90.0)
    assert (shown.left, shown.stalled_seconds, shown.paused, shown.paused_groups) == (None, 0.0, True, (B,))
    tally = counted(BEGUN, ProgressStored(shown))
    assert "paused: group b" in plain_line(tally)
    page = io.StringIO()
    Console(file=page, width=120).print(picture(tally))
    assert "paused: group b" in page.getvalue()
    line = progress_object(tally)
    assert (line["seconds_left"], line["paused"], line["paused_groups"]) == (None, True, ["b"])


def test_a_paused_movement_keeps_its_percent_and_says_so() -> None:
    tally = counted(BEGUN, ProgressStored(ShownProgress(40, TimeLeft(1.0, 2.0))))
    assert "1.0 s to 2.0 s left" in plain_line(tally)
    tally.report(MovementPaused(FlowName("crm"), 1))
    assert plain_line(tally).startswith(" 40 %")
    assert "paused" in plain_line(tally)
    assert tally.time_left is None
    tally.report(MovementBegun(FlowName("crm"), 1, resumed=True, labels=(A, B), percent=40))
    assert plain_line(tally).startswith(" 40 %")
    assert "paused" not in plain_line(tally)


def test_no_line_for_a_program_says_0_percent_before_the_movement_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated: list[Callable[[], None]] = []
    monkeypatch.setattr("pipeline.cli.output.progress.repeat", lambda action, seconds: repeated.append(action))
    tally = counted()
    show_progress(tally, as_json=True, seconds=1.0)
    (print_line,) = repeated
    print_line()
    assert capsys.readouterr().out == ""
    tally.report(MovementBegun(FlowName("crm"), 1, resumed=True, labels=(A, B), percent=40))
    print_line()
    assert orjson.loads(capsys.readouterr().out)["percent"] == 40


def test_a_second_plan_does_not_count_twice() -> None:
    tally = counted(BEGUN, *EVENTS[:7], ImportPlanned(A, pending=0, skipped=3))
    assert (tally.groups["a"].pending, tally.groups["a"].skipped) == (1, 2)


@given(st.lists(st.sampled_from((BEGUN, *EVENTS)), max_size=20))
def test_every_state_can_be_shown(events: list[Event]) -> None:
    tally = counted(*events)
    assert plain_line(tally)
    console = Console(file=io.StringIO(), width=100)
    console.print(picture(tally))


def test_the_live_display_shows_every_group_and_escapes_names() -> None:
    tally = counted(MovementBegun(FlowName("crm"), 1, resumed=False, labels=(Label("evil\x1b[2J[red]"), A)), EVENTS[0])
    page = io.StringIO()
    Console(file=page, width=120).print(picture(tally))
    assert "evil\\x1b[2J[red]" in page.getvalue()
    assert "\x1b" not in page.getvalue()


def test_the_plain_line_shows_the_counts() -> None:
    line = plain_line(counted(BEGUN, *EVENTS[:7]))
    assert "100 rows read · 100 records imported · 1.1 kB stored · 1 of 2 groups done" in line


def test_every_reporter_gets_every_event() -> None:
    one, other = counted(), counted()
    for event in (BEGUN, *EVENTS):
        Fanout([one, other, LogReporter()]).report(event)
    assert one.groups.keys() == other.groups.keys() == {"a", "b"}


def test_repeating_ends_with_its_context_and_survives_a_closed_output() -> None:
    calls: list[int] = []

    def closed() -> None:
        calls.append(1)
        raise BrokenPipeError

    with repeat(closed, 0.001):
        while not calls:
            pass
    assert len(calls) == 1


def test_numbers_are_written_for_people() -> None:
    assert [size(n) for n in (0, 999, 1_000, 16_000_000, 999_960_000, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "16.0 MB",
        "1.0 GB",
        "5000.0 TB",
    ]
    assert [duration(s) for s in (0.04, 9.94, 59.4, 61, 7_500)] == ["0.0 s", "9.9 s", "59 s", "1 m 1 s", "2 h 5 m"]
    assert [count(1, "file"), count(2_000, "file"), count(0, "entry", "entries")] == [
        "1 file",
        "2,000 files",
        "0 entries",
    ]


@given(st.text())
def test_printable_text_is_printable(text: str) -> None:
    assert printable(text).isprintable()


def test_columns_align_words_to_the_left_and_numbers_to_the_right() -> None:
    assert columns([("name", "rows"), ("日本", "5"), ("a", "1,000")], indent="") == [
        "name   rows",
        "日本      5",
        "a     1,000",
    ]
