"""A change feed: each Movement asks for what is new alone, and nothing is deleted that the feed does not name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.kit import Changes, Exporter, Page
from pipeline.kit.declared import Feed
from pipeline.kit.reading.feeds.changed_rows import before
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, move
from tests.kit.test_exporting import held


@dataclass
class FeedApp:
    """Rows with a log of changes: a key, and a name or None. It gives two changes at a time."""

    log: list[tuple[int, str | None]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    pages_asked: list[str | None] = field(default_factory=list)
    fail_at: str = ""
    answer: Any = None

    def rows(self) -> dict[int, str]:
        """Return the rows as they are now."""
        return {number: name for number, name in dict(self.log).items() if name is not None}

    def source(self, *, snapshot: bool = False, lag: float = 0, forgotten: int = 0) -> ExporterSource:
        """Return the app as a Source. The feed has forgotten the first changes."""
        exporter = Exporter("app")
        if snapshot:

            @exporter.pages("things", row=dict, columns=COLUMNS, key="id")
            async def pages(client: None, after: str | None) -> Page[dict[str, object]]:
                self.pages_asked.append(after)
                if self.fail_at == f"page {after}":
                    raise ConnectionError("closed")
                numbers, start = sorted(self.rows()), int(after or 0)
                following = str(start + 2) if start + 2 < len(numbers) else None
                rows = [{"id": number, "name": self.rows()[number]} for number in numbers[start : start + 2]]
                return Page(rows, next=following)

        @exporter.changes("things", row=dict, columns=COLUMNS, key="id", lag=lag)
        async def changes(client: None, since: str | None) -> Changes[dict[str, object]]:
            self.asked.append(since)
            if self.fail_at == since:
                raise ConnectionError("closed")
            if self.answer is not None:
                return self.answer  # type: ignore[no-any-return]
            start = max(forgotten, int(since or 0))
            part = self.log[start : start + 2]
            return Changes(
                [{"id": number, "name": name} for number, name in part if name is not None],
                [number for number, name in part if name is None],
                cursor=str(start + len(part)),
                more=start + 2 < len(self.log),
            )

        return ExporterSource("app:source", exporter, None)


async def test_each_movement_asks_for_what_is_new(tmp_path: Path) -> None:
    app, copy = FeedApp([(1, "a"), (2, "b"), (3, "c"), (1, "aa"), (2, None)]), str(tmp_path / "copy.db")
    assert (await move(app.source(), copy, tmp_path)).status is pipeline.Status.SUCCESS
    assert (held(tmp_path), app.asked) == ({1: "aa", 3: "c"}, [None, "2", "4"])
    app.asked.clear()
    assert (await move(app.source(), copy, tmp_path)).totals.files_exported == 0
    app.log += [(3, None), (4, "d")]
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.totals.upserts, movement.totals.deletes) == (1, 1)
    assert (held(tmp_path), app.asked) == ({1: "aa", 4: "d"}, ["5", "5"])


async def test_what_the_feed_has_forgotten_is_not_deleted(tmp_path: Path) -> None:
    app, copy = FeedApp([(1, "a"), (2, "b"), (3, "c")]), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.log.append((4, "d"))
    await move(app.source(forgotten=3), copy, tmp_path)
    assert held(tmp_path) == {1: "a", 2: "b", 3: "c", 4: "d"}


async def test_many_deletes_that_a_feed_names_are_held_until_they_are_allowed(tmp_path: Path) -> None:
    app, copy = FeedApp([(number, "x") for number in range(300)]), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.log += [(number, None) for number in range(150)]
    for _ in range(2):  # each Movement finds them again, though the feed names them once
        movement = await move(app.source(), copy, tmp_path)
        assert movement.status is pipeline.Status.INCOMPLETE
        assert {name: (one.deletes, one.rows) for name, one in movement.held_deletes.items()} == {"things": (150, 300)}
        assert len(held(tmp_path)) == 300
    movement = await move(app.source(), copy, tmp_path, allow_deletes=["things"])
    assert movement.status is pipeline.Status.SUCCESS
    assert held(tmp_path) == app.rows()


@pytest.mark.parametrize("first", ["changes", "snapshot"])
async def test_a_feed_and_its_snapshot_are_declared_in_any_order(first: str, tmp_path: Path) -> None:
    exporter, asked = Exporter("app"), list[str]()

    async def rows(client: None) -> AsyncIterator[dict[str, object]]:
        asked.append("snapshot")
        yield {"id": 1, "name": "a"}

    async def changes(client: None, since: str | None) -> Changes[dict[str, object]]:
        asked.append("changes")
        return Changes([{"id": 2, "name": "b"}], cursor="1")

    def declare_snapshot() -> None:
        exporter.rows("things", row=dict, columns=COLUMNS, key="id", group="app", scopes=["pii"])(rows)

    if first == "snapshot":
        declare_snapshot()
    exporter.changes("things", row=dict, columns=COLUMNS, key="id", reconcile="7d")(changes)
    if first == "changes":
        declare_snapshot()
    assert [(one.label, one.scopes) for one in exporter.streams.values()] == [("app", ("pii",))]
    source, copy = ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db")
    await move(source, copy, tmp_path)
    await move(source, copy, tmp_path)
    assert (asked, held(tmp_path)) == (["snapshot", "changes", "changes"], {1: "a", 2: "b"})


async def test_a_feed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    app, copy = FeedApp([(number, "x") for number in range(7)], fail_at="4"), str(tmp_path / "copy.db")
    with pytest.raises(pipeline.TransientError, match="ConnectionError: closed"):
        await move(app.source(), copy, tmp_path)
    app.fail_at, app.asked = "", []
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.number, app.asked, held(tmp_path)) == (1, ["4", "6"], app.rows())


async def test_a_snapshot_is_made_once_and_whole(tmp_path: Path) -> None:
    app, copy = FeedApp([(number, "x") for number in range(5)], fail_at="page 2"), str(tmp_path / "copy.db")
    with pytest.raises(pipeline.TransientError):
        await move(app.source(snapshot=True, forgotten=5), copy, tmp_path)
    app.fail_at, app.pages_asked = "", []
    await move(app.source(snapshot=True, forgotten=5), copy, tmp_path)
    assert (app.pages_asked, held(tmp_path)) == ([None, "2", "4"], app.rows())
    app.log += [(0, None), (9, "new")]
    app.pages_asked, app.asked = [], []
    movement = await move(app.source(snapshot=True, forgotten=5), copy, tmp_path)
    assert (app.pages_asked, app.asked, held(tmp_path)) == ([], ["5"], app.rows())
    assert movement.status is pipeline.Status.SUCCESS


async def test_what_overlaps_because_of_lag_moves_nothing(tmp_path: Path) -> None:
    app, copy = FeedApp([(number, "x") for number in range(4)]), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.asked.clear()
    movement = await move(app.source(lag=2), copy, tmp_path)
    assert (app.asked, movement.totals.files_exported) == (["2"], 0)


@pytest.mark.parametrize(
    ("cursor", "asked"),
    [
        ("1764504000123456789", "1764504000123456784.5"),  # a float would be later than the cursor
        ("100", "95.5"),
        ("4.5", "0"),
        ("2026-01-01T00:00:00Z", "2025-12-31T23:59:55.500000+00:00"),
        ("0001-01-01T00:00:00", None),
    ],
)
def test_lag_is_taken_from_a_cursor_exactly(cursor: str, asked: str | None) -> None:
    async def things(client: None, since: str | None) -> None: ...

    assert before(cursor, Feed(things, 4.5, "")) == asked


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "returned a list. Return Changes"),
        (Changes([{"id": 1, "name": "x"}]), "returned rows without a cursor"),
        (Changes([], cursor=7), "returned the cursor 7. Return text"),  # type: ignore[arg-type]
        (Changes([], cursor="\ud800"), r"returned the cursor '\\ud800'. Return text"),
        (Changes([], [(1, 2)], cursor="1"), r"\(1, 2\) is no key of the stream 'things'"),
        (Changes([], cursor="same", more=True), "gave more changes after 'same' without a new cursor"),
    ],
)
async def test_an_answer_that_is_none_is_named_with_the_line(answer: object, message: str, tmp_path: Path) -> None:
    app = FeedApp(answer=answer)
    movement = await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(movement.problems[0])
    assert f"{__file__}, line " in movement.problems[0]


async def test_a_lag_longer_than_an_answer_ends_a_long_feed(tmp_path: Path) -> None:
    app = FeedApp([(number, "x") for number in range(9)])
    movement = await move(app.source(lag=5), str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, held(tmp_path), app.asked[:3]) == (pipeline.Status.SUCCESS, app.rows(), [None, "2", "4"])


async def test_a_feed_whose_cursors_go_in_a_circle_is_named(tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.changes("things", row=dict, columns=COLUMNS, key="id")
    async def changes(client: None, since: str | None) -> Changes[dict[str, object]]:
        return Changes([], cursor={"a": "b", "b": "c"}.get(since or "", "a"), more=True)

    source = ExporterSource("app:source", exporter, None)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert re.search(r"test_changes.py, line \d+: .* a second time. It would never end", movement.problems[0])


async def test_a_cursor_that_lag_cannot_use_is_named_before_its_rows_are_moved(tmp_path: Path) -> None:
    app = FeedApp([(1, "a")])
    app.answer = Changes([{"id": 1, "name": "a"}], cursor="abc")
    movement = await move(app.source(lag=5), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert "test_changes.py, line " in movement.problems[0]
    assert "the cursor 'abc' is neither a number nor an ISO 8601 time" in movement.problems[0]
    assert movement.totals.upserts == 0


@pytest.mark.parametrize("log", [[(1, "a"), (1, None)], [(1, None), (1, "a")]])
async def test_a_key_that_is_an_upsert_and_a_delete_of_one_answer_is_named(
    log: list[tuple[int, str | None]], tmp_path: Path
) -> None:
    app, copy = FeedApp([(1, "old"), (2, "b")]), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.log += log
    movement = await move(app.source(), copy, tmp_path)
    assert movement.status is not pipeline.Status.SUCCESS
    told = r"test_changes.py, line \d+: the change feed of 'things' gave the key 1 both as an upsert and as a delete"
    assert re.search(told, "".join(movement.problems))
    assert held(tmp_path) == {1: "old", 2: "b"}
