"""What an Exporter's functions give is checked: each mistake is one message with the author's file and line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import InitVar, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

import pipeline
from pipeline.domain.ids import StreamName
from pipeline.kit import Batch, Changes, Exporter, Finding, Import, Importer, Page
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.encoding import RowEncoder
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, App, move
from tests.kit.test_exporting import held


@dataclass
class Item:
    """A row with a key of a type that is written as text."""

    id: UUID
    day: date
    name: str | None = None


GOOD = Item(UUID(int=1), date(2026, 1, 2))
ROWS: list[tuple[Any, str]] = [
    (None, "gave a row of the type NoneType, not Item .*Return rows of that type"),
    ({"id": 1}, "gave a row of the type dict, not Item"),
    (Item(None, GOOD.day), r"the row with key \[\"None\"\] of the stream 'things' has no key in the column 'id'"),  # type: ignore[arg-type]
    (Item(GOOD.id, None), "has no value in the column 'day'"),  # type: ignore[arg-type]
    (Item(GOOD.id, "2026-01-02"), "has in the column 'day' .*str"),  # type: ignore[arg-type]
    (Item(GOOD.id, datetime(2026, 1, 2, tzinfo=UTC)), "has in the column 'day' a datetime, not a date"),
    (Item("no uuid", GOOD.day), "has in the column 'id' 'no uuid', which is no UUID"),  # type: ignore[arg-type]
    (Item("\ud800", GOOD.day), "has in the column 'id' .* no UUID"),  # type: ignore[arg-type]
    (Item(7, GOOD.day), "has in the column 'id' a value of the type int"),  # type: ignore[arg-type]
    (Item(GOOD.id, GOOD.day, 7), "has in the column 'name' a value of the type int, not str"),  # type: ignore[arg-type]
]


def failing(error: BaseException) -> object:
    """Return a row type of which the row 2 cannot be made."""

    @dataclass
    class Checked:
        """A row with a check of the author's."""

        id: int
        name: InitVar[str] = ""

        def __post_init__(self, name: str) -> None:
            if self.id == 2:
                raise error

    return Checked


@pytest.mark.parametrize("error", [AssertionError("no"), LookupError("no"), SystemExit("no"), KeyboardInterrupt("no")])
async def test_a_row_that_a_row_type_refuses_is_rejected_alone_whatever_it_raises(
    error: BaseException, tmp_path: Path
) -> None:
    exporter, importer, found = Exporter("app"), Importer("app"), list[int]()

    @exporter.rows("things", row=dict, key="id", columns={"id": int})
    async def things(client: None) -> AsyncIterator[dict[str, int]]:
        for number in (1, 2, 3):
            yield {"id": number}

    @importer.applies("things", row=cast("type[Any]", failing(error)))
    async def apply(target: None, batch: Batch[Any], ctx: Import) -> None:
        found.extend(upsert.row.id for upsert in batch.upserts)

    there = ImporterDestination("app:x", importer, None)
    movement = await move(ExporterSource("app:source", exporter, None), there, tmp_path)
    assert found == [1, 3]
    assert movement.problems[0].endswith(f"key [2] was rejected: {type(error).__name__}: no")


async def test_truth_values_are_numbers_where_the_column_has_integers(tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=dict, key="id", columns={"id": int, "ratio": float})
    async def things(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"id": True, "ratio": 1.0}

    encoder = RowEncoder(exporter.streams[StreamName("things")])
    (row,) = encoder.encode(encoder.values([{"id": True, "ratio": 2}]))
    assert (row.line, encoder.deletes([True])[0].line) == (b'{"upsert":{"id":1,"ratio":2}}', b'{"delete":{"id":1}}')
    keyed = Exporter("app")
    keyed.rows("things", row=dict, key="ratio", columns={"ratio": float})(things)
    encoder = RowEncoder(keyed.streams[StreamName("things")])
    (row,) = encoder.encode(encoder.values([{"ratio": 2}]))
    assert (row.line, encoder.deletes([2])[0].line) == (b'{"upsert":{"ratio":2.0}}', b'{"delete":{"ratio":2.0}}')


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("row", "message"), ROWS)
async def test_a_row_that_does_not_fit_is_named_and_nothing_of_it_is_moved(
    row: Any, message: str, ordered: bool, tmp_path: Path
) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=Item, key="id", ordered=ordered)
    async def things(client: None) -> AsyncIterator[Item]:
        yield row

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    assert movement.totals.upserts == 0
    assert re.search(rf"test_bad_answers.py, line \d+: .*{message}", movement.problems[0]), movement.problems


LONG = "x" * 100_000
PAGES: list[tuple[Any, str]] = [
    (Page(None), "the rows of a page of the stream 'things' are of the type NoneType. Give a list"),  # type: ignore[arg-type]
    (Page("text"), "are of the type str. Give a list"),
    (Page({"items": []}), "are of the type dict. Give a list"),  # type: ignore[arg-type]
    (Page([], total="7"), "the total of a page is '7'. Return a number of rows, or None"),  # type: ignore[arg-type]
    (Page([], total=-1), "the total of a page is -1"),
    (None, "the function for pages returned a NoneType. Return a Page"),
    (Page([], next=LONG), "the stream 'things' gave the page after 'xxx"),
    (Page([], next=f"{LONG}\ud800"), "the cursor `next` of a page is 'xxx"),
]


@pytest.mark.parametrize(("page", "message"), PAGES)
async def test_a_page_that_is_none_deletes_nothing(page: Any, message: str, tmp_path: Path) -> None:
    app = App(dict.fromkeys(range(5), "x"), order="stable")
    await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    exporter = Exporter("app")

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id", order="stable")
    async def things(client: None, after: str | None) -> Page[dict[str, object]]:
        return page  # type: ignore[no-any-return]

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    assert re.search(rf"test_bad_answers.py, line \d+: .*{re.escape(message)}", movement.problems[0]), movement.problems
    assert len(movement.problems[0]) < 600  # a value of any length is shown in part
    assert held(tmp_path) == app.things


CHANGES: list[tuple[Any, str]] = [
    (Changes(None, cursor="1"), "the upserts of the change feed of 'things' are of the type NoneType. Give a list"),  # type: ignore[arg-type]
    (Changes([], "12", cursor="1"), "the deletes of the change feed of 'things' are of the type str. Give a list"),
    (Changes([], [None], cursor="1"), "None is no key of the stream 'things'"),  # type: ignore[list-item]
    (Changes([], ["1"], cursor="1"), "'1' is no key of the stream 'things'"),
    (Changes([], [2**64], cursor="1"), "18446744073709551616 is no key of the stream 'things'"),
    (Changes([], [LONG], cursor="1"), " is no key of the stream 'things'"),
    (Changes([], cursor=LONG, more=True), "the change feed of 'things' gave more changes after 'xxx"),
    (Changes([], cursor=f"{LONG}\ud800"), "the change feed of 'things' returned the cursor 'xxx"),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES)
async def test_changes_that_are_none_delete_nothing(changes: Any, message: str, tmp_path: Path) -> None:
    exporter = Exporter("app")
    answers = [Changes([{"id": 1, "name": "x"}, {"id": 2, "name": "x"}], cursor="0")]

    @exporter.changes("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: None, since: str | None) -> Changes[dict[str, object]]:
        return answers[-1]

    source = ExporterSource("app:source", exporter, None)
    await move(source, str(tmp_path / "copy.db"), tmp_path)
    answers.append(changes)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    assert re.search(rf"test_bad_answers.py, line \d+: .*{re.escape(message)}", movement.problems[0]), movement.problems
    assert len(movement.problems[0]) < 600  # a value of any length is shown in part
    assert held(tmp_path) == {1: "x", 2: "x"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "the rows that `fetch` returned of 'things' are of the type NoneType"),
        ([7], "gave a row of the type int"),
    ],
)
async def test_what_fetch_returns_is_checked(answer: Any, message: str, tmp_path: Path) -> None:
    things = dict.fromkeys(range(5), "x")
    exporter = Exporter("app")

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id")
    async def pages(client: None, after: str | None) -> Page[dict[str, object]]:
        return Page([{"id": number, "name": name} for number, name in things.items()])

    @exporter.fetch("things")
    async def fetch(client: None, keys: Sequence[int]) -> Sequence[dict[str, object]]:
        return answer  # type: ignore[no-any-return]

    source = ExporterSource("app:source", exporter, None)
    await move(source, str(tmp_path / "copy.db"), tmp_path)
    del things[3]
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert message in movement.problems[0]
    assert len(held(tmp_path)) == 5


async def test_rows_that_fetch_gives_without_being_asked_change_nothing(tmp_path: Path) -> None:
    things = dict.fromkeys(range(5), "x")
    exporter = Exporter("app")

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id")
    async def pages(client: None, after: str | None) -> Page[dict[str, object]]:
        return Page([{"id": number, "name": name} for number, name in things.items()])

    @exporter.fetch("things")
    async def fetch(client: None, keys: Sequence[int]) -> Sequence[dict[str, object]]:
        return [{"id": number, "name": "never asked for"} for number in (1, 77)]

    source = ExporterSource("app:source", exporter, None)
    await move(source, str(tmp_path / "copy.db"), tmp_path)
    del things[3]
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.SUCCESS, 1)
    assert held(tmp_path) == things


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_key_of_more_than_64_bits_is_named(ordered: bool, tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id", ordered=ordered)
    async def things(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"id": 2**64, "name": "x"}

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    message = r"the row with key \[\"18446744073709551616\"\] .* has in the column 'id' an integer of more than 64 bits"
    assert re.search(message, movement.problems[0]), movement.problems


class Name(str):
    """Text of a class of the author's, with words of its own for people."""

    def __str__(self) -> str:
        return f"the name {self!r}"


@pytest.mark.parametrize("ordered", [True, False])
async def test_values_of_an_authors_subclass_arrive_as_what_they_are(ordered: bool, tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.rows("things", row=dict, columns={"id": str, "name": str}, key="id", ordered=ordered)
    async def things(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"id": Name("1"), "name": Name("x")}
        yield {"id": "2", "name": Name("y")}

    source = ExporterSource("app:source", exporter, None)
    for upserts in (2, 0):
        movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
        assert (movement.status, movement.totals.upserts) == (pipeline.Status.SUCCESS, upserts)
    assert held(tmp_path) == {1: "x", 2: "y"}  # it reads keys as numbers


async def test_a_finding_with_an_unknown_level_is_named(tmp_path: Path) -> None:
    exporter = App({1: "x"}).exporter()

    @exporter.check("rights", title="May read")
    async def rights(client: None) -> AsyncIterator[Finding]:
        yield Finding("no rights", "ERROR")  # type: ignore[arg-type]

    with pytest.raises(
        pipeline.ConfigurationError, match=r"test_bad_answers.py, line \d+: a Finding has the level 'ERROR'. The"
    ):
        await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)


def test_scopes_that_are_a_text_are_named() -> None:
    with pytest.raises(pipeline.ConfigurationError, match=r"scopes='pii' is a text. Give several: scopes=\('pii',\)"):
        Exporter("app").rows("things", row=dict, columns=COLUMNS, key="id", scopes="pii")


async def test_reconcile_without_a_snapshot_is_named_however_the_exporter_is_given(tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.changes("things", row=dict, columns=COLUMNS, key="id", reconcile="7d")
    async def things(client: None, since: str | None) -> Changes[dict[str, object]]:
        return Changes([], cursor="1")

    with pytest.raises(pipeline.ConfigurationError, match=r"test_bad_answers.py, line \d+: .* has no snapshot"):
        await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
