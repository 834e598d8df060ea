"""What an app says of how many rows there are gives the percent of an export."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import pipeline
from pipeline.assembly.progress_counts import Tally
from pipeline.cli.output.progress import plain_line, progress_object
from pipeline.engine.estimates.estimate import Estimate
from pipeline.engine.movements.context import Limits
from pipeline.kit import Changes, Exporter, Page, Stop
from pipeline.kit.reading.source import ExporterSource
from pipeline.log_events import log
from pipeline.testing import run_virtually
from pipeline.testing.suites.moving import UndisturbedFlow
from pipeline.testing.torture.apps.plain_app import PlainApp, plain_importer
from tests.kit.app import COLUMNS, move

Row = dict[str, object]


class Watched(Tally):
    """Estimates the percent at each event, as the process that moves does at each write."""

    def __init__(self) -> None:
        super().__init__()
        self.estimate = Estimate(self.clock())

    def report(self, event: pipeline.Event) -> None:
        super().report(event)
        self.estimate.note(event, self.clock())


def counting(how: str, rows: int, tally: Watched, percents: list[int], estimate: Any = None) -> ExporterSource:
    """Return an app that notes the percent before each hundred rows."""
    exporter = Exporter("app")

    def part(start: int) -> list[Row]:
        percents.append(tally.estimate.percent(tally.clock()))
        return [{"id": number, "name": "x"} for number in range(start, min(start + 100, rows))]

    async def all_rows(client: None) -> AsyncIterator[Row]:
        for start in range(0, rows, 100):
            for row in part(start):
                yield row

    async def pages(client: None, after: str | None) -> Page[Row]:
        start = int(after or 0)
        total = rows if how == "pages with a total" else None
        return Page(part(start), next=str(start + 100) if start + 100 < rows else None, total=total)

    async def changes(client: None, since: str | None) -> Changes[Row]:
        start = int(since or 0)
        return Changes(part(start), cursor=str(start + 100), more=start + 100 < rows)

    async def estimated(client: None) -> int:
        if isinstance(estimate, Exception):
            raise estimate
        return estimate  # type: ignore[no-any-return]

    kind: dict[str, Any] = {"row": dict, "columns": COLUMNS, "key": "id"}
    if how.startswith("pages"):
        exporter.pages("things", order="stable", **kind)(pages)
    elif how == "changes":
        exporter.changes("things", **kind)(changes)
    else:
        exporter.rows("things", ordered=how == "ordered", **kind)(all_rows)
    if estimate is not None:
        exporter.estimate("things")(estimated)
    return ExporterSource("app:source", exporter, None)


@pytest.mark.parametrize(
    ("how", "estimate"),
    [("pages with a total", None), ("pages", 10_000), ("rows", 10_000), ("ordered", 10_000), ("changes", 10_000)],
)
async def test_the_percent_rises_while_an_app_is_read(how: str, estimate: int | None, tmp_path: Path) -> None:
    tally, percents = Watched(), list[int]()
    source = counting(how, 10_000, tally, percents, estimate)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path, reporter=tally)
    assert movement.status is pipeline.Status.SUCCESS
    assert percents == sorted(percents)
    assert percents[0] == 0
    assert len(set(percents)) > 5
    most = 50 if how == "ordered" else 25  # what is fetched is still to be compared and stored
    assert most - 10 <= percents[-1] <= most
    assert tally.percent == 100
    assert progress_object(tally)["groups"][0]["rows_expected"] == 10_000  # type: ignore[index]
    expected = {"things": 10_000}
    assert (tally.groups["things"].rows_expected, tally.groups["things"].rows_read) == (expected, 10_000)


async def test_without_an_estimate_there_is_no_percent(tmp_path: Path) -> None:
    tally, percents = Watched(), list[int]()
    await move(counting("pages", 1_000, tally, percents), str(tmp_path / "copy.db"), tmp_path, reporter=tally)
    assert set(percents) == {0}
    tally.groups["things"].rows_expected, tally.groups["things"].rows_fetched = {"things": 5_000}, 3_000
    assert "3,000 rows read of about 5,000" in plain_line(tally)


@pytest.mark.parametrize("error", [ConnectionError("no answer"), Stop("closed")])
async def test_an_estimate_that_fails_is_said_and_hinders_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, object]] = []
    monkeypatch.setattr(log, "warning", lambda event, **fields: said.append({"event": event, **fields}))
    source = counting("rows", 10, Watched(), [], error)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert [(one["event"], one["stream"]) for one in said] == [("estimate_failed", "things")]
    assert re.search(rf"{error}.*\(.*test_read_progress.py, line \d+\)", str(said[0]["reason"]))


@pytest.mark.parametrize("estimate", ["many", 1.5, -1])
async def test_an_estimate_that_is_no_number_is_named(estimate: object, tmp_path: Path) -> None:
    source = counting("rows", 10, Watched(), [], estimate)
    message = rf"test_read_progress.py, line \d+: the estimate of 'things' is {estimate!r}. Return a number of rows"
    with pytest.raises(pipeline.ConfigurationError, match=message):
        await move(source, str(tmp_path / "copy.db"), tmp_path)


def test_a_movement_that_reads_for_long_does_not_count_as_idle() -> None:
    exporter = Exporter("app")

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id", order="stable")
    async def things(client: None, after: str | None) -> Page[Row]:
        await anyio.sleep(Limits().idle_timeout_seconds * 2 / 3)
        number = int(after or 0)
        return Page([{"id": number, "name": "x"}], next=str(number + 1) if number < 5 else None)

    flow = UndisturbedFlow(exporter, None, plain_importer(), PlainApp(), lambda stream: ("id",))
    movement = run_virtually(flow.move)
    assert (movement.status, movement.totals.upserts) == (pipeline.Status.SUCCESS, 6)
