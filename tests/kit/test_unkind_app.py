"""What holds of an Exporter holds against an app over HTTP that changes, hesitates, and gives half of what it has."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.kit import Changes, Exporter, Page
from pipeline.kit.reading.source import ExporterSource
from pipeline.log_events import log
from tests.kit.app import COLUMNS, move
from tests.kit.test_exporting import held
from tests.kit.unkind_server import PAGE_ROWS, Client, UnkindApp, serve_unkind

Row = dict[str, object]


@pytest.fixture
def app() -> UnkindApp:
    return UnkindApp({number: f"name {number}" for number in range(1, 46)})


@pytest.fixture
def client(app: UnkindApp) -> Iterator[Client]:
    with serve_unkind(app) as client:
        yield client


def rows_in(answer: Any) -> list[Row]:
    return [{"id": key, "name": name} for key, name in answer["items"]]


def source(
    client: Client, order: str, *, total: bool = True, swallow: bool = False, fetch: bool = False
) -> ExporterSource:
    """Return the app's list as a Source: `stable` by key, `shifting` by offset. `swallow`: an error ends the list."""
    exporter = Exporter("app")

    async def pages(_: None, after: str | None) -> Page[Row]:
        by = "after" if order == "stable" else "offset"
        try:
            answer = await client.get("/rows", **{by: after or 0})
        except ConnectionError:
            if not swallow:
                raise
            return Page([], total=45 if total else None)
        return Page(rows_in(answer), next=answer["next"], total=answer["total"] if total else None)

    exporter.pages("things", row=dict, columns=COLUMNS, key="id", order=order)(pages)  # type: ignore[arg-type]
    if fetch:

        @exporter.fetch("things")
        async def fetched(_: None, keys: Sequence[int]) -> Sequence[Row]:
            return rows_in(await client.get("/single", keys=list(keys)))

    return ExporterSource("app:source", exporter, None)


@pytest.mark.parametrize("order", ["stable", "shifting"])
@pytest.mark.parametrize("seed", range(5))
async def test_no_row_that_is_there_throughout_is_lost_while_others_come_and_go(
    order: str, seed: int, app: UnkindApp, client: Client, tmp_path: Path
) -> None:
    copy, choose, lasting = str(tmp_path / "copy.db"), random.Random(seed), set(range(1, 46, 3))
    seen = lasting if order == "stable" else set[int]()  # a list that shifts may lack any row at first

    def unkind(number: int, path: str) -> object:
        for _ in range(2):
            gone = choose.choice([*app.rows])
            if gone not in lasting:
                del app.rows[gone]
            app.rows[choose.randint(1, 90)] = f"new {number}"
        if choose.random() < 0.3:
            return choose.choice(["busy", "lost"])
        return None

    for _ in range(6):
        app.before = unkind
        for _ in range(10):
            try:
                await move(source(client, order, fetch=True), copy, tmp_path)
                break
            except pipeline.TransientError:
                continue  # four answers in a row were lost
        assert seen <= held(tmp_path).keys()
        seen = seen | (lasting & held(tmp_path).keys())
    app.before = lambda number, path: None
    for _ in range(3):  # nothing changes any more
        movement = await move(source(client, order, fetch=True), copy, tmp_path, allow_deletes=["things"])
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path) == app.rows


async def test_a_page_is_asked_for_once_also_by_another_attempt(app: UnkindApp, client: Client, tmp_path: Path) -> None:
    app.before = lambda number, path: "lost" if "offset=30" in path else None
    with pytest.raises(pipeline.TransientError, match="ConnectionError: no answer"):
        await move(source(client, "shifting"), str(tmp_path / "copy.db"), tmp_path)
    app.before = lambda number, path: None
    app.requests.clear()
    await move(source(client, "shifting"), str(tmp_path / "copy.db"), tmp_path)
    assert app.requests == ["/rows?offset=30", "/rows?offset=40"]
    assert held(tmp_path) == app.rows


async def test_a_cursor_that_repeats_is_named(app: UnkindApp, client: Client, tmp_path: Path) -> None:
    again = {"items": [[1, "x"]], "next": "10", "total": 45}
    app.before = lambda number, path: again if "after=10" in path else None
    movement = await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path)
    assert "gave the page after '10' with the same cursor as next" in movement.problems[0]


async def test_cursors_that_go_in_a_circle_are_named(app: UnkindApp, client: Client, tmp_path: Path) -> None:
    def circle(number: int, path: str) -> object:
        return {"items": [[number, "x"]], "next": "20" if number % 2 else "30", "total": None}

    app.before = circle
    movement = await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path)
    assert "0' a second time. It would never end: return the cursor of the page after it" in movement.problems[0]
    assert len(app.requests) < 10


async def test_the_app_is_asked_again_when_it_says_so(app: UnkindApp, client: Client, tmp_path: Path) -> None:
    app.before = lambda number, path: "busy" if number % 10 else None
    movement = await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, held(tmp_path)) == (pipeline.Status.SUCCESS, app.rows)
    assert len(app.requests) == 50


async def test_an_error_that_is_swallowed_deletes_nothing_of_a_list_with_a_total(
    app: UnkindApp, client: Client, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    for order in ("stable", "shifting"):
        app.before = lambda number, path: None
        await move(source(client, order), copy, tmp_path)
        app.before = lambda number, path: "lost" if "=10" in path else None
        for _ in range(3):
            movement = await move(source(client, order, swallow=True), copy, tmp_path)
            assert held(tmp_path) == app.rows, order
        assert movement.status is pipeline.Status.INCOMPLETE
        assert "1 list (things): the app has given 10 rows of it, and says that there are 45" in str(movement.problems)
        assert (order == "stable") == ("--allow-deletes things" in str(movement.problems))
        app.before = lambda number, path: None
        movement = await move(source(client, order), copy, tmp_path)
        assert (movement.status, held(tmp_path)) == (pipeline.Status.SUCCESS, app.rows)


async def test_a_feed_with_rows_and_no_cursor_moves_nothing(app: UnkindApp, client: Client, tmp_path: Path) -> None:
    exporter, copy = Exporter("app"), str(tmp_path / "copy.db")
    cursors: list[str | None] = ["1", None]

    @exporter.changes("things", row=dict, columns=COLUMNS, key="id")
    async def changes(_: None, since: str | None) -> Changes[Row]:
        answer = await client.get("/changes", since=since)
        cursor = answer["cursor"] if cursors[0] else None
        return Changes(rows_in(answer), answer["gone"], cursor=cursor, more=answer["more"])

    app.log = [1, 2, 3]
    await move(ExporterSource("app:source", exporter, None), copy, tmp_path)
    before = held(tmp_path)
    assert before == {number: app.rows[number] for number in (1, 2, 3)}
    app.log += [4]
    cursors.pop(0)
    movement = await move(ExporterSource("app:source", exporter, None), copy, tmp_path)
    assert "returned rows without a cursor" in movement.problems[0]
    assert held(tmp_path) == before
    cursors.insert(0, "1")
    del app.rows[2]
    app.log += [2]
    app.before = lambda number, path: "lost" if number % 3 else None
    await move(ExporterSource("app:source", exporter, None), copy, tmp_path)
    assert held(tmp_path) == {number: app.rows[number] for number in (1, 3, 4)}


@pytest.mark.parametrize("rows", [100, 101])
async def test_many_deletes_at_once_are_held(rows: int, app: UnkindApp, client: Client, tmp_path: Path) -> None:
    app.rows = dict.fromkeys(range(1, 301), "x")
    await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path)
    for number in range(1, rows + 1):
        del app.rows[number]
    movement = await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path)
    if rows == 100:
        assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 100)
        return
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.INCOMPLETE, 0)
    assert "add --allow-deletes things" in str(movement.problems)
    movement = await move(source(client, "stable"), str(tmp_path / "copy.db"), tmp_path, allow_deletes=["things"])
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 101)


async def test_a_total_that_differs_is_said(
    app: UnkindApp, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(log, "warning", lambda event, **fields: said.append((event, fields)))
    copy = str(tmp_path / "copy.db")
    await move(source(client, "stable"), copy, tmp_path)
    await move(source(client, "stable", total=False), copy, tmp_path)
    assert said == []
    cut = {"items": [[key, app.rows[key]] for key in range(11, 21)], "next": None, "total": 45}
    app.before = lambda number, path: cut if "after=10" in path else None
    movement = await move(source(client, "stable"), copy, tmp_path)
    assert said == [("list_total_differs", {"stream": "things", "rows": 20, "total": 45})]
    assert (movement.status, held(tmp_path)) == (pipeline.Status.INCOMPLETE, app.rows)
    said.clear()
    await move(source(client, "stable", total=False), copy, tmp_path, allow_deletes=["things"])
    assert ("last_page_full", {"stream": "things", "rows": 20, "page_rows": PAGE_ROWS}) in said
