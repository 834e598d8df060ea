"""Rows of an app arrive in a database as they are, and only what is gone for sure is deleted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import apsw
import pytest

import pipeline
from pipeline.kit import Again, Exporter, Page, Stop
from pipeline.kit.reading.encoding import EncodedRow
from pipeline.kit.reading.sorting import MERGED_RUNS, RowSorter
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, App, move


def held(home: Path) -> dict[int, str]:
    """Return the rows at the destination."""
    copy = apsw.Connection(str(home / "copy.db"))
    try:
        return {int(str(number)): str(name) for number, name in copy.execute("SELECT id, name FROM things")}
    finally:
        copy.close()


def pages_stored(home: Path) -> list[str]:
    return sorted(
        str(path.parent.name) for path in (home / "home").rglob("*") if path.is_file() and "spool" in str(path)
    )


async def test_later_movements_move_what_has_changed(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)}, order="stable")
    copy = str(tmp_path / "copy.db")
    assert (await move(app.source(), copy, tmp_path)).totals.upserts == 10
    again = await move(app.source(), copy, tmp_path)
    assert (again.totals.files_exported, again.totals.upserts) == (0, 0)
    app.things[3] = "another"
    app.things[10] = "new"
    del app.things[7]
    movement = await move(app.source(), copy, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert (movement.totals.upserts, movement.totals.deletes) == (2, 1)
    assert held(tmp_path) == app.things
    assert pages_stored(tmp_path) == []


async def test_an_export_goes_on_at_the_page_where_it_stopped(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)})

    def fail(after: str | None) -> None:
        if after == "6":
            raise ConnectionError("the app is closed")

    app.before_page = fail
    with pytest.raises(pipeline.TransientError, match=r"things.*: the app is closed \(.*test_exporting.py, line"):
        await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    app.before_page, app.asked = lambda after: None, []
    movement = await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    assert (movement.number, app.asked) == (1, ["6", "9"])
    assert held(tmp_path) == app.things


async def test_a_stream_that_is_stopped_keeps_its_rows_and_the_others_go_on(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)}, order="stable")
    await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    before, exporter = dict(app.things), app.exporter()

    @exporter.rows("others", row=dict, columns=COLUMNS, key="id")
    async def others(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"id": 1, "name": "x"}

    def stop(after: str | None) -> None:
        raise Stop("the app is closed")

    app.things, app.before_page = {}, stop
    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, movement.totals.upserts, held(tmp_path)) == (pipeline.Status.INCOMPLETE, 1, before)
    assert re.search(r"1 stream \(things\): .* has stopped: the app is closed \(.*app.py, line", movement.problems[0])


async def test_a_list_that_is_not_read_to_its_end_deletes_nothing(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)}, order="stable")
    await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    whole = dict(app.things)
    app.things = dict(list(whole.items())[:5])

    def fail(after: str | None) -> None:
        if after is not None:
            raise ValueError("no answer")

    app.before_page = fail
    movement = await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert re.search(r"ValueError: no answer \(.*test_exporting.py, line", movement.problems[0])
    assert held(tmp_path) == whole


async def test_a_row_that_shifts_out_of_a_list_once_is_kept(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)})
    copy = str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    everything = dict(app.things)

    def shift(after: str | None) -> None:
        if after == "3":
            del app.things[0]  # all others move up, so that 3 is on no page

    app.before_page = shift
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.totals.deletes, held(tmp_path)) == (0, everything)
    app.before_page = lambda after: None
    movement = await move(app.source(), copy, tmp_path)
    assert movement.totals.deletes == 0  # 0 was on a page of the list before
    movement = await move(app.source(), copy, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path) == app.things
    assert 3 in app.things
    assert set(pages_stored(tmp_path)) == {"4"}


async def test_fetch_decides_at_once_whether_a_row_is_gone(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(10)}, can_fetch=True)
    copy = str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)

    def shift(after: str | None) -> None:
        if after == "3":
            app.things.pop(0, None)
            app.things[3] = "changed"

    app.before_page = shift
    movement = await move(app.source(), copy, tmp_path)
    assert sorted(app.fetched) == [3]
    app.before_page = lambda after: None
    await move(app.source(), copy, tmp_path)
    assert sorted(app.fetched) == [0, 3]
    assert movement.totals.deletes == 0
    assert held(tmp_path) == app.things


async def test_a_key_that_comes_twice_counts_as_it_came_last(tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: None) -> AsyncIterator[dict[str, object]]:
        for number, name in [(2, "b"), (1, "old"), (3, "c"), (1, "new")]:
            yield {"id": number, "name": name}

    await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert held(tmp_path) == {1: "new", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    ("numbers", "message"), [([1, 3, 2], "key \\[2\\] came after key \\[3\\]"), ([1, 1], "key \\[1\\] came twice")]
)
async def test_keys_that_are_said_to_be_in_order_and_are_not_are_named(
    numbers: list[int], message: str, tmp_path: Path
) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id", ordered=True)
    async def things(client: None) -> AsyncIterator[dict[str, object]]:
        for number in numbers:
            yield {"id": number, "name": "x"}

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    line = rf"test_exporting.py, line \d+: .*{message}\. .*leave ordered=True out"
    assert re.search(line, movement.problems[0]), movement.problems


async def test_the_app_is_asked_again_as_late_as_it_wants(tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(4)})
    waits = [Again(after=0.01)] * 10

    def busy(after: str | None) -> None:
        if waits:
            raise waits.pop()

    app.before_page = busy
    assert (await move(app.source(), str(tmp_path / "copy.db"), tmp_path)).totals.upserts == 4


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ([], "returned a list. Return a Page"),
        (Page([], next=7), "`next` of a page is 7. Return text"),  # type: ignore[arg-type]
        (Page([], next="same"), "gave the page after 'same' with the same cursor as next. It would never end"),
        (Page([{"id": 1}]), r"row with key \[1\] of the stream 'things' has no value in the column 'name'"),
    ],
)
async def test_a_page_that_is_none_is_named_with_the_line(
    page: Page[dict[str, object]], message: str, tmp_path: Path
) -> None:
    exporter = Exporter("app")

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: None, after: str | None) -> Page[dict[str, object]]:
        return page

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    assert re.search(message, movement.problems[0])
    assert f"{__file__}, line " in movement.problems[0]


def test_rows_are_sorted_on_disk_in_bounded_memory() -> None:
    sorter, numbers = RowSorter(run_bytes=100), [(number * 7919) % 3001 for number in range(3 * 3001)]
    try:
        for at, number in enumerate(numbers):
            sorter.add([EncodedRow((number,), b"%d of %d" % (at, number))])
        assert 1 < len(sorter._runs) <= MERGED_RUNS
        found = list(sorter.sorted_rows())
    finally:
        sorter.close()
    assert [row.key for row in found] == [(number,) for number in range(3001)]
    assert all(int(row.line.split()[0]) >= 2 * 3001 for row in found)


async def test_a_movement_without_a_stream_keeps_the_last_list_of_it(tmp_path: Path) -> None:
    app, copy = App(dict.fromkeys(range(3), "x")), str(tmp_path / "copy.db")
    exporter = app.exporter()

    @exporter.rows("others", row=dict, columns=COLUMNS, key="id")
    async def others(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"id": 1, "name": "x"}

    source = ExporterSource("app:source", exporter, None)
    await move(source, copy, tmp_path)
    await move(source, copy, tmp_path, only=["others"])
    del app.things[1]
    assert (await move(source, copy, tmp_path)).totals.deletes == 0  # it may be on a page that moved
    assert (await move(source, copy, tmp_path)).totals.deletes == 1


@dataclass
class Price:
    """A row whose key is a number that records hold as text; another field of the key has a default."""

    amount: Decimal
    currency: str = "EUR"
    note: str = ""


async def test_decimal_keys_that_ascend_as_numbers_are_in_order(tmp_path: Path) -> None:
    prices = [Price(Decimal(text)) for text in ("-10", "-9.5", "0", "9", "10", "1E+3")]
    exporter = Exporter("app")

    @exporter.rows("things", row=Price, key=("amount", "currency"), ordered=True)
    async def rows(client: None) -> AsyncIterator[Price]:
        for price in prices:
            yield price

    source = ExporterSource("app:source", exporter, None)
    first = await move(source, str(tmp_path / "copy.db"), tmp_path)
    del prices[3]
    again = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert (first.totals.upserts, again.totals.upserts, again.totals.deletes) == (6, 0, 1)
    with apsw.Connection(str(tmp_path / "copy.db")) as copy:
        found = {amount for (amount,) in copy.execute("SELECT CAST(amount AS TEXT) FROM things")}
        columns = [
            (name, notnull) for name, notnull in copy.execute("SELECT name, [notnull] FROM pragma_table_info('things')")
        ]
    copy.close()
    assert {Decimal(str(amount)) for amount in found} == {price.amount for price in prices}
    assert columns == [("amount", 1), ("currency", 1), ("note", 0)]


async def test_a_field_that_is_never_none_may_be_renamed(tmp_path: Path) -> None:
    for name in ("title", "headline", "subject"):
        exporter = Exporter("app")

        @exporter.rows("things", row=dict, columns={"id": int, name: str}, key="id")
        async def rows(client: None, name: str = name) -> AsyncIterator[dict[str, object]]:
            yield {"id": 1, name: "x"}

        movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
        assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
        with apsw.Connection(str(tmp_path / "copy.db")) as copy:
            assert copy.execute("SELECT * FROM things").fetchall() == [(1, "x")]
            assert [str(one[1]) for one in copy.execute("PRAGMA table_info(things)")] == ["id", name]
        copy.close()
