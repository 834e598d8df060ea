"""A row that a shifting list lacks is gone when `fetch` says so, and only then if there is a `fetch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pipeline
from pipeline.domain.ids import StreamName
from pipeline.kit import Exporter, Page, Refused
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, move
from tests.kit.test_exporting import held


@dataclass
class HidingApp:
    """Rows of which the list lacks those that are `hidden`; `fetch` gives all, or raises `error`."""

    rows: dict[int, str]
    hidden: set[int] = field(default_factory=set)
    error: Exception | None = None
    fetched: list[int] = field(default_factory=list)

    def source(self, *, can_fetch: bool = True) -> ExporterSource:
        exporter = Exporter("app")

        @exporter.pages("things", row=dict, columns=COLUMNS, key="id")
        async def things(client: None, after: str | None) -> Page[dict[str, object]]:
            return Page([{"id": number, "name": self.rows[number]} for number in self.rows.keys() - self.hidden])

        @exporter.fetch("things")
        async def fetch(client: None, keys: Sequence[int]) -> Sequence[dict[str, object]]:
            if self.error is not None:
                raise self.error
            self.fetched += keys
            return [{"id": key, "name": self.rows[key]} for key in keys if key in self.rows]

        if not can_fetch:
            exporter.fetches.clear()
        return ExporterSource("app:source", exporter, None)


async def test_fetch_is_asked_in_each_movement_that_lacks_a_row(tmp_path: Path) -> None:
    app, copy = HidingApp(dict.fromkeys(range(4), "x")), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.hidden = {1, 2}
    for number in range(3):
        app.fetched, app.rows[2] = [], f"changed {number}"
        movement = await move(app.source(), copy, tmp_path)
        assert (movement.status, movement.totals.deletes, sorted(app.fetched)) == (pipeline.Status.SUCCESS, 0, [1, 2])
        assert held(tmp_path) == app.rows
    del app.rows[2]
    assert (await move(app.source(), copy, tmp_path)).totals.deletes == 1
    app.fetched = []
    await move(app.source(), copy, tmp_path)
    assert (app.fetched, held(tmp_path)) == ([1], app.rows)


@pytest.mark.parametrize("error", [Refused("no"), ValueError("always"), ConnectionError("no answer")])
@pytest.mark.parametrize("failures", [1, 3])
async def test_a_fetch_that_fails_is_no_sign_that_a_row_is_gone(
    error: Exception, failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.kit.calls.FIRST_PAUSE_SECONDS", 0.001)
    app, copy = HidingApp(dict.fromkeys(range(4), "x")), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.hidden, app.error = {1}, error
    for _ in range(failures):
        if isinstance(error, ConnectionError):
            with pytest.raises(pipeline.TransientError):
                await move(app.source(), copy, tmp_path)
        else:
            assert (await move(app.source(), copy, tmp_path)).status is pipeline.Status.INCOMPLETE
        assert held(tmp_path) == app.rows
    app.error = None
    for _ in range(2):
        app.fetched = []
        assert (await move(app.source(), copy, tmp_path)).status is pipeline.Status.SUCCESS
        assert (app.fetched, held(tmp_path)) == ([1], app.rows)


async def test_a_fetch_that_fails_is_not_the_first_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.calls.FIRST_PAUSE_SECONDS", 0.001)
    app, copy = HidingApp(dict.fromkeys(range(4), "x")), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.hidden, app.error = {1}, ValueError("always")
    await move(app.source(), copy, tmp_path)
    assert (await move(app.source(can_fetch=False), copy, tmp_path)).totals.deletes == 0
    assert (await move(app.source(can_fetch=False), copy, tmp_path)).totals.deletes == 1


async def test_what_fetch_has_answered_is_not_asked_again_by_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.kit.calls.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("pipeline.kit.reading.unordered.BATCH_ROWS", 2)
    app, copy = HidingApp(dict.fromkeys(range(9), "x")), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.hidden, app.error = {1, 2, 3, 4, 5}, None
    source = app.source()
    fetch = source._exporter.fetches[StreamName("things")]

    async def twice(client: None, keys: Sequence[int]) -> object:
        if app.fetched == [1, 2]:
            raise ConnectionError("no answer")
        return await fetch(client, keys)

    source._exporter.fetches[StreamName("things")] = twice
    with pytest.raises(pipeline.TransientError):
        await move(source, copy, tmp_path)
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.number, movement.totals.deletes) == (2, 0)
    assert (app.fetched, held(tmp_path)) == ([1, 2, 3, 4, 5], app.rows)
