"""A record of `stages` that was rejected is staged again, without the Event File that it came in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

import pipeline
from pipeline.kit import Delete, Import, Importer, Refused, StagedFile
from pipeline.kit.loading.destination import ImporterDestination
from tests.kit.app import move


class Shelf:
    """An app that takes a staged file once under its id, and one staging for each `once_key`.

    It refuses names that begin with `bad` and are not `accepted`: each record, or with `as_a_whole` all of a small file.
    """

    def __init__(self, *, as_a_whole: bool) -> None:
        self.as_a_whole, self.accepted = as_a_whole, set[object]()
        self.staged, self.by_key = dict[str, list[tuple[object, object]]](), dict[str, str]()
        self.held, self.published, self.sizes = dict[object, object](), list[str](), list[int]()

    def destination(self) -> ImporterDestination:
        importer = Importer("shelf")

        @importer.stages("things", row=dict)
        async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> str:
            self.sizes.append(len(file.records))
            bad = [one for one in file.upserts if str(one.row["name"]) not in self.accepted and "bad" in str(one.row)]
            if self.as_a_whole and bad and len(file.records) < 3:
                raise Refused("has something bad", column="name")
            for one in bad:
                file.refuse(one, "is bad", column="name")
            if ctx.once_key not in self.by_key:
                rows = [(one.key, None if isinstance(one, Delete) else one.row["name"]) for one in file.records]
                self.staged[file.id] = [row for row in rows if row[0] not in {one.key for one in bad}]
                self.by_key[ctx.once_key] = file.id
            return self.by_key[ctx.once_key]

        @stage.publish
        async def publish(target: None, tokens: Sequence[str], ctx: Import) -> None:
            for token in tokens:
                if token not in self.published:
                    self.held.update(self.staged[token])
                    self.published.append(token)

        return ImporterDestination("shelf:x", importer, None)


@pytest.mark.parametrize("as_a_whole", [False, True])
async def test_rejected_records_are_staged_again_and_each_alone_where_needed(as_a_whole: bool, tmp_path: Path) -> None:
    source, shelf = str(tmp_path / "app.db"), Shelf(as_a_whole=as_a_whole)
    with apsw.Connection(source) as app:
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        app.execute("INSERT INTO things VALUES (1, 'one'), (2, 'bad two'), (3, 'bad three'), (4, 'four')")
    movement = await move(source, shelf.destination(), tmp_path)
    assert (movement.status, movement.totals.rejected) == (pipeline.Status.INCOMPLETE, 2)
    assert shelf.held == {1: "one", 4: "four"}
    shelf.accepted, shelf.sizes = {"bad two"}, []
    movement = await move(source, shelf.destination(), tmp_path)
    assert (movement.status, shelf.held) == (pipeline.Status.INCOMPLETE, {1: "one", 4: "four", 2: "bad two"})
    assert "key [3] was rejected: " in movement.problems[0]
    assert shelf.sizes[:3] == ([2, 1, 1] if as_a_whole else [2, 1])
    shelf.accepted.add("bad three")
    movement = await move(source, shelf.destination(), tmp_path)
    assert (movement.status, len(shelf.held)) == (pipeline.Status.SUCCESS, 4)
    shelf.sizes = []
    await move(source, shelf.destination(), tmp_path)
    assert shelf.sizes == []


async def test_a_staged_record_that_waits_for_an_id_holds_back_no_other(tmp_path: Path) -> None:
    source, importer, held = str(tmp_path / "app.db"), Importer("shelf"), dict[object, str]()
    staged = dict[str, dict[object, str]]()
    with apsw.Connection(source) as app:
        app.execute("CREATE TABLE people (id INTEGER PRIMARY KEY)")
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, person INT)")
        app.execute("INSERT INTO people VALUES (1); INSERT INTO things VALUES (5, 1), (6, 1), (7, 2), (8, 1), (9, 1)")

    @importer.creates("people", row=dict, delivery="at-least-once")
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        return f"new-{row['id']}"

    @importer.stages("things", row=dict, after=("people",))
    async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> str:
        staged[file.id] = {one.key: await ctx.ids.need("people", one.row["person"]) for one in file.upserts}
        return file.id

    @stage.publish
    async def publish(target: None, tokens: Sequence[str], ctx: Import) -> None:
        for token in tokens:
            held.update(staged[token])

    there = ImporterDestination("shelf:x", importer, None)
    movement = await move(source, there, tmp_path)
    assert (movement.status, held) == (pipeline.Status.INCOMPLETE, dict.fromkeys((5, 6, 8, 9), "new-1"))
    assert "key [7] was rejected: it waits for the new id of people '2'" in movement.problems[0]
    with apsw.Connection(source) as app:
        app.execute("INSERT INTO people VALUES (2)")
    movement = await move(source, there, tmp_path)
    assert (movement.status, held[7]) == (pipeline.Status.SUCCESS, "new-2")
