"""A stream with a change feed is read as a whole again, to find missed deletes, and when its row type has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

import pipeline
from pipeline.codec.event_files.compression import compress_frame
from pipeline.kit import Changes, Exporter, Page
from pipeline.kit.reading.feeds import changed_rows
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import move

Row = dict[str, object]
COLUMNS: dict[str, Any] = {"id": int, "name": str}


@dataclass
class Feed:
    """Rows by key, and a feed that names the keys of `log`, two at a time. `asked` is what the functions were asked for."""

    rows: dict[int, Row] = field(default_factory=dict)
    log: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=lambda: dict(COLUMNS))
    key: str = "id"
    hidden: set[int] = field(default_factory=set)
    forgotten: int = 0
    fail_at: str = ""

    def put(self, number: int, **more: object) -> None:
        """Change a row, and let the feed name it."""
        self.rows[number] = {"id": number, "name": f"name {number}", **more}
        self.log.append(number)

    def given(self, number: int) -> Row:
        return {name: self.rows[number].get(name) for name in self.columns}

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.fail_at:
            raise ConnectionError("closed")

    def source(self, snapshot: str = "", *, reconcile: str | None = None, fetch: bool = False) -> ExporterSource:
        """Return the app as a Source with a snapshot by `rows`, or by `stable` or `shifting` pages, or without one."""
        exporter = Exporter("app")

        async def rows(client: None) -> AsyncIterator[Row]:
            self.ask("rows")
            for number in self.rows:
                yield self.given(number)

        async def pages(client: None, after: str | None) -> Page[Row]:
            self.ask(f"page {after}")
            numbers, start = [number for number in sorted(self.rows) if number not in self.hidden], int(after or 0)
            following = str(start + 50) if start + 50 < len(numbers) else None
            return Page([self.given(number) for number in numbers[start : start + 50]], next=following)

        async def changes(client: None, since: str | None) -> Changes[Row]:
            self.ask(f"since {since}")
            start = max(int(since or 0), self.forgotten)
            part = self.log[start : start + 200]
            return Changes(
                [self.given(number) for number in part if number in self.rows],
                cursor=str(start + len(part)),
                more=start + 200 < len(self.log),
            )

        async def fetched(client: None, keys: Sequence[int]) -> Sequence[Row]:
            self.ask(f"fetch {sorted(keys)}")
            return [self.given(key) for key in keys if key in self.rows]

        kind: dict[str, Any] = {"row": dict, "columns": self.columns, "key": self.key}
        if snapshot == "rows":
            exporter.rows("things", **kind)(rows)
        elif snapshot:
            exporter.pages("things", order=snapshot, **kind)(pages)  # type: ignore[arg-type]
        exporter.changes("things", reconcile=reconcile, **kind)(changes)
        if fetch:
            exporter.fetch("things")(fetched)
        return ExporterSource("app:source", exporter, None)


def held(home: Path) -> dict[object, tuple[object, ...]]:
    """Return the rows at the destination."""
    copy = apsw.Connection(str(home / "copy.db"))
    try:
        return {row[0]: row[1:] for row in copy.execute("SELECT * FROM things")}
    finally:
        copy.close()


def later(monkeypatch: pytest.MonkeyPatch, **time: int) -> None:
    """Let it be that much later."""
    at = datetime.now(UTC) + timedelta(**time)
    monkeypatch.setattr(changed_rows, "_now", lambda: at)


def filled(count: int = 60) -> Feed:
    feed = Feed()
    for number in range(count):
        feed.put(number)
    return feed


def stored_pages(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file() and "spool" in str(path))


@pytest.mark.parametrize("snapshot", ["rows", "stable"])
async def test_a_delete_that_the_feed_has_missed_is_found(
    snapshot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    source = feed.source(snapshot, reconcile="7d")
    assert (await move(source, copy, tmp_path)).status is pipeline.Status.SUCCESS
    feed.put(3, name="changed")
    del feed.rows[7]  # the feed does not name it
    feed.asked.clear()
    movement = await move(source, copy, tmp_path)
    assert (movement.totals.upserts, movement.totals.deletes, feed.asked) == (1, 0, ["since 60"])
    later(monkeypatch, days=6, hours=23)
    assert (await move(source, copy, tmp_path)).totals.files_exported == 0
    feed.asked.clear()
    later(monkeypatch, days=7, hours=1)
    movement = await move(source, copy, tmp_path)
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (pipeline.Status.SUCCESS, 0, 1)
    assert held(tmp_path).keys() == feed.rows.keys()
    assert feed.asked == [*(["rows"] if snapshot == "rows" else ["page None", "page 50"]), "since 61"]
    feed.asked.clear()
    assert (await move(source, copy, tmp_path)).totals.files_exported == 0
    assert feed.asked == ["since 61"]


async def test_what_is_missing_from_a_list_that_shifts_must_be_missing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    source = feed.source("shifting", reconcile="7d")
    await move(source, copy, tmp_path)
    feed.hidden = {5}  # on a page that moved
    del feed.rows[7]
    for days, missing in [(8, set[int]()), (9, set[int]()), (16, {7})]:
        later(monkeypatch, days=days)
        movement = await move(source, copy, tmp_path)
        assert movement.status is pipeline.Status.SUCCESS
        assert set(range(60)) - held(tmp_path).keys() == missing, days
        feed.hidden = set()
        feed.put(20, name=f"changed {days}")
    later(monkeypatch, days=17)
    await move(source, copy, tmp_path)
    assert held(tmp_path)[20] == ("changed 16",)


async def test_fetch_decides_what_is_missing_from_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    source = feed.source("shifting", reconcile="7d", fetch=True)
    await move(source, copy, tmp_path)
    feed.hidden = {5}
    del feed.rows[7]
    later(monkeypatch, days=8)
    await move(source, copy, tmp_path)
    assert "fetch [5, 7]" in feed.asked
    assert held(tmp_path).keys() == feed.rows.keys()


async def test_many_missed_deletes_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, copy = filled(500), str(tmp_path / "copy.db")
    source = feed.source("stable", reconcile="7d")
    await move(source, copy, tmp_path)
    everything = held(tmp_path)
    for number in range(200):
        del feed.rows[number]
    later(monkeypatch, days=8)
    movement = await move(source, copy, tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert "--allow-deletes things" in str(movement.problems)
    assert held(tmp_path) == everything
    movement = await move(source, copy, tmp_path, allow_deletes=["things"])
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 200)


async def test_a_list_that_is_not_read_to_its_end_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    source = feed.source("stable", reconcile="7d")
    await move(source, copy, tmp_path)
    del feed.rows[7]
    later(monkeypatch, days=8)
    feed.fail_at = "page 50"
    with pytest.raises(pipeline.TransientError):
        await move(source, copy, tmp_path)
    assert 7 in held(tmp_path)
    feed.fail_at = ""
    feed.asked.clear()
    await move(source, copy, tmp_path)
    assert feed.asked == ["page None", "page 50", "since 60"]
    assert held(tmp_path).keys() == feed.rows.keys()
    assert [name.rpartition(".")[2].rstrip("~") for name in stored_pages(tmp_path)] == ["base", "base", "whole"]


FORMS = [
    ({"id": int, "name": str, "age": int | None}, "age"),
    ({"id": int}, "lost"),
    ({"id": int, "name": str | None, "price": float | None}, "price"),
    ({"name": str, "id": int}, "order"),
]


@pytest.mark.parametrize("snapshot", ["", "rows", "stable", "shifting"])
@pytest.mark.parametrize(("columns", "what"), FORMS)
async def test_stored_rows_follow_a_row_type_that_has_changed(
    columns: dict[str, Any], what: str, snapshot: str, tmp_path: Path
) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    for number in feed.rows:
        feed.rows[number] |= {"age": number, "price": number / 4}
    await move(feed.source(snapshot), copy, tmp_path)
    feed.columns = columns
    feed.put(3, name="changed", age=33, price=0.5)
    movement = await move(feed.source(snapshot), copy, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    connection = apsw.Connection(str(tmp_path / "copy.db"))
    names = ", ".join(columns)
    found = sorted(connection.execute(f"SELECT {names} FROM things ORDER BY id"))
    assert found == sorted(tuple(feed.rows[number][name] for name in columns) for number in feed.rows)
    connection.close()
    feed.asked.clear()
    assert (await move(feed.source(snapshot), copy, tmp_path)).totals.files_exported == 0
    assert feed.asked == ["since 61"]


@pytest.mark.parametrize("snapshot", ["", "stable"])
async def test_stored_rows_are_read_again_when_a_field_is_none_no_more(snapshot: str, tmp_path: Path) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    feed.columns = {"id": int, "name": str | None}
    for number in feed.rows:
        feed.rows[number]["name"] = None
    await move(feed.source(snapshot), copy, tmp_path)
    feed.columns = {"id": int, "name": str}
    for number in feed.rows:  # the app fills them in, and its feed does not name them
        feed.rows[number]["name"] = "filled"
    movement = await move(feed.source(snapshot), copy, tmp_path)
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    connection = apsw.Connection(str(tmp_path / "copy.db"))
    assert connection.execute("SELECT count(*), min(name), max(name) FROM things").fetchall() == [
        (len(feed.rows), "filled", "filled")
    ]
    connection.close()
    feed.columns, feed.asked = {"id": int, "name": str | None}, []
    assert (await move(feed.source(snapshot), copy, tmp_path)).status is pipeline.Status.SUCCESS
    assert len(feed.asked) == 1  # what is stored fits a field that may be None again


@pytest.mark.parametrize("snapshot", ["", "stable"])
async def test_stored_rows_follow_a_key_that_has_changed(snapshot: str, tmp_path: Path) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    await move(feed.source(snapshot), copy, tmp_path)
    feed.key = "name"
    movement = await move(feed.source(snapshot), copy, tmp_path, allow_deletes=["things"])
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    feed.put(60)
    movement = await move(feed.source(snapshot), copy, tmp_path)
    assert movement.totals.upserts == 1
    assert {row[0] for row in held(tmp_path).values()} == {f"name {number}" for number in range(61)}


async def test_rows_that_a_feed_has_forgotten_are_fetched_or_converted_or_named(tmp_path: Path) -> None:
    feed = filled()
    for home in ("fetched", "lost", "named"):
        await move(feed.source(), str(tmp_path / home / "copy.db"), tmp_path / home)
    feed.forgotten = 50
    feed.columns = {"id": int}
    movement = await move(feed.source(), str(tmp_path / "lost" / "copy.db"), tmp_path / "lost")
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 0)
    assert held(tmp_path / "lost").keys() == feed.rows.keys()
    feed.columns = {"id": int, "name": str, "age": int | None}
    for number in feed.rows:
        feed.rows[number]["age"] = number
    movement = await move(feed.source(fetch=True), str(tmp_path / "fetched" / "copy.db"), tmp_path / "fetched")
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path / "fetched") == {number: (f"name {number}", number) for number in range(60)}
    before = held(tmp_path / "named")
    movement = await move(feed.source(), str(tmp_path / "named" / "copy.db"), tmp_path / "named")
    assert movement.status is pipeline.Status.INCOMPLETE
    assert movement.rejections.count == 50
    named = movement.rejections.named[0]
    assert (named.key, named.column) == ("[0]", "age")
    assert "it has not come since its row type changed, and has no value in the column 'age'" in named.reason
    assert {number: row[:1] for number, row in held(tmp_path / "named").items()} == before
    movement = await move(feed.source(fetch=True), str(tmp_path / "named" / "copy.db"), tmp_path / "named")
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path / "named") == held(tmp_path / "fetched")


async def test_pages_of_another_row_type_are_read_again(tmp_path: Path) -> None:
    feed, copy = filled(), str(tmp_path / "copy.db")
    exporters = [Exporter("app"), Exporter("app")]
    columns: list[dict[str, Any]] = [COLUMNS, {**COLUMNS, "age": int | None}]
    for exporter, form in zip(exporters, columns, strict=True):

        async def pages(client: None, after: str | None, form: Any = form) -> Page[Row]:
            feed.ask(f"page {after}")
            numbers, start = [number for number in sorted(feed.rows) if number not in feed.hidden], int(after or 0)
            rows = [{name: feed.rows[number].get(name) for name in form} for number in numbers[start : start + 40]]
            return Page(rows, next=str(start + 40) if start + 40 < len(numbers) else None)

        exporter.pages("things", row=dict, columns=form, key="id")(pages)
    feed.fail_at = "page 40"
    with pytest.raises(pipeline.TransientError):
        await move(ExporterSource("app:source", exporters[0], None), copy, tmp_path)
    feed.fail_at = ""
    for number in feed.rows:
        feed.rows[number]["age"] = number
    movement = await move(ExporterSource("app:source", exporters[1], None), copy, tmp_path)
    assert movement.number == 1
    assert held(tmp_path) == {number: (f"name {number}", number) for number in range(60)}
    feed.hidden = {7}
    movement = await move(ExporterSource("app:source", exporters[0], None), copy, tmp_path)
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 0)
    assert held(tmp_path).keys() == feed.rows.keys()
    movement = await move(ExporterSource("app:source", exporters[1], None), copy, tmp_path)
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 1)


def emptied_spool(home: Path) -> Path:
    """Remove the stored pages; return their directory."""
    (directory,) = {path.parent for path in home.rglob("*") if path.is_file() and "spool" in str(path)}
    for path in directory.iterdir():
        path.unlink()
    return directory


@pytest.mark.parametrize("snapshot", ["", "stable"])
async def test_what_an_earlier_release_has_stored_is_read(snapshot: str, tmp_path: Path) -> None:
    feed, copy = filled(6), str(tmp_path / "copy.db")
    await move(feed.source(snapshot), copy, tmp_path)
    directory = emptied_spool(tmp_path)
    lines = [orjson.dumps({"upsert": feed.given(number)}) for number in range(6)]
    parts: list[tuple[dict[str, object], list[bytes]]] = [({"next": None, "rows": 2, "cursor": "6"}, lines[4:])]
    if snapshot:
        parts = [({"next": "2", "rows": 2}, lines[:2]), ({"next": None, "rows": 2}, lines[2:4]), *parts]
    else:
        parts = [({"next": None, "rows": 4, "cursor": "4"}, lines[:4]), *parts]
    for number, (head, rows) in enumerate(parts):
        (directory / f"{number:010d}~").write_bytes(compress_frame(b"\n".join([orjson.dumps(head), *rows]), 1))
    feed.put(7)
    feed.asked.clear()
    movement = await move(feed.source(snapshot), copy, tmp_path)
    assert (movement.status, movement.totals.upserts, feed.asked) == (pipeline.Status.SUCCESS, 1, ["since 6"])
    feed.columns = {"id": int, "name": str, "age": int | None}
    movement = await move(feed.source(snapshot), copy, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path).keys() == feed.rows.keys()
