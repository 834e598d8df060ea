"""A record that needs the id of another one waits for it: on disk, across processes, and not for ever."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from math import nan
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

import pipeline
from pipeline.domain.ids import FlowName, Label, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Import, Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import FileToLoad, Loaded
from pipeline.ports.object_store import list_pages
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.destination import file_to_load
from tests.kit.app import move
from tests.loops import on_trio

FLOW = FlowName("crm 2026")


class Color(Enum):
    """A key that is a member of an Enum."""

    RED = "red"


@dataclass
class NamedColor:
    """A row with such a key."""

    name: Color


class Tree:
    """An Importer of nodes, each of which needs the id of its parent. `calls` counts the calls of the handler by key."""

    def __init__(self, *streams: str) -> None:
        self.store = MemoryObjectStore()
        self.calls: Counter[object] = Counter()
        self.made: list[object] = []
        self.importer = Importer("tree")
        for stream in streams or ("nodes",):

            @self.importer.creates(stream, row=dict)
            async def create(target: None, row: dict[str, object], ctx: Import) -> str:
                self.calls[row["id"]] += 1
                if row["parent"] is not None:
                    parent = await ctx.ids.need(str(row.get("kind") or "nodes"), row["parent"])
                    assert parent == f"new-{row['parent']}"
                self.made.append(row["id"])
                return f"new-{row['id']}"

    def destination(self) -> ImporterDestination:
        return ImporterDestination("tree:x", self.importer, None, self.store)


def nodes(rows: Sequence[tuple[int, int | None]], chunk: int = 0) -> FileToLoad:
    """Return an Event File of nodes with their parents."""
    columns = (Column("id", "integer", nullable=False), Column("parent", "integer"))
    schema = StreamSchema(StreamName("nodes"), Label("nodes"), columns, ("id",))
    lines = b"".join(orjson.dumps({"upsert": {"id": id_, "parent": parent}}) + b"\n" for id_, parent in rows)
    return file_to_load(schema, [lines], phase=Phase.FULL, chunk=chunk)


@on_trio
async def test_a_long_chain_in_the_worst_order_is_imported_without_calling_in_vain() -> None:
    tree = Tree()
    async with tree.destination().open(FLOW) as session:
        chain = [(number, number - 1 or None) for number in range(200, 0, -1)]
        loaded = await session.load(nodes(chain), after=())
        assert isinstance(loaded, Loaded)
        assert loaded.rejections == ()
        assert await session.retry_rejected() == []
        assert sorted(map(int, map(str, tree.made))) == list(range(1, 201))
        assert max(tree.calls.values()) == 2
        (mark,) = (await session.marks()).values()
        assert (mark.upserts, mark.rejected) == (200, 0)


@on_trio
async def test_many_records_that_wait_are_kept_in_few_objects_and_by_another_worker() -> None:
    tree = Tree()
    async with tree.destination().open(FLOW) as other:
        async with tree.destination().open(FLOW) as session:
            file = nodes([(number, 9999) for number in range(5000)])
            loaded = await session.load(file, after=())
            assert isinstance(loaded, Loaded)
            assert (loaded.mark.upserts, loaded.mark.rejected) == (0, 5000)
        assert len([1 async for page in list_pages(tree.store, "") for _ in page]) < 100
        assert isinstance(await other.load(nodes([(9999, None)], chunk=1), after=()), Loaded)
        await other.marks()
        assert await other.retry_rejected() == []
        assert len(tree.made) == 5001
        assert (await other.marks())[file.entry.id].upserts == 5000


async def test_a_kind_that_nothing_creates_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent INTEGER, kind TEXT)")
        app.execute("INSERT INTO nodes VALUES (1, 9, 'node'), (2, 9, 'users'), (3, 9, 'teams')")
    app.close()
    tree = Tree("nodes", "users")

    @tree.importer.applies("others", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...

    told = "\n".join((await move(str(tmp_path / "app.db"), tree.destination(), tmp_path)).problems)
    waits = "it waits for the new id of {} '9', which has not been imported"
    kinds = ": no handler creates {}, and `ids.put` has put none. Kinds that handlers create: 'nodes', 'users'\n"
    for kind, hint in (("node", kinds.format("'node'")), ("users", "\n"), ("teams", kinds.format("'teams'"))):
        assert f"{waits.format(kind)}{hint}" in f"{told}\n"


@pytest.mark.parametrize("kind", [None, 7, "", "\udcff"])
async def test_a_kind_that_is_no_text_is_named_and_stores_nothing_that_cannot_be_read(
    kind: Any, tmp_path: Path
) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE nodes (id INTEGER PRIMARY KEY)")
        app.execute("INSERT INTO nodes VALUES (1)")
    app.close()
    asked, importer = [kind], Importer("kinds")

    @importer.applies("nodes", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        for one in asked:
            await ctx.ids.put(one, 1, "new")
            await ctx.ids.need(one, 1)

    there = ImporterDestination("kinds:x", importer, None)
    movement = await move(str(tmp_path / "app.db"), there, tmp_path)
    assert re.search(r"test_waiting.py, line \d+: the id map takes text as a kind", movement.problems[0])
    asked[:] = ["nodes"]
    assert (await move(str(tmp_path / "app.db"), there, tmp_path)).status is pipeline.Status.SUCCESS


@pytest.mark.parametrize("source", [None, nan, Decimal("NaN"), (1, None)])
async def test_what_is_no_id_is_refused_with_the_line_and_never_waited_for(source: object, tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE nodes (id INTEGER PRIMARY KEY)")
        app.execute("INSERT INTO nodes VALUES (1), (2), (3)")
    app.close()
    importer, made = Importer("orphans"), list[object]()

    @importer.creates("nodes", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        assert await ctx.ids.get("nodes", source) is None
        assert await ctx.ids.many("nodes", [source]) == {}
        if row["id"] == 2:
            await ctx.ids.need("nodes", source)
        made.append(row["id"])
        return f"new-{row['id']}"

    movement = await move(str(tmp_path / "app.db"), ImporterDestination("orphans:x", importer, None), tmp_path)
    assert (sorted(map(str, made)), movement.totals.rejected) == (["1", "3"], 1)
    fault = f"`ids.need` is given {source!r} as an id of 'nodes'. Ask for it only where the row has one."
    assert re.search(rf"test_waiting.py, line \d+: {re.escape(fault)}", movement.problems[0])
    assert "waits" not in "".join(movement.problems)


@pytest.mark.parametrize(
    ("does", "source", "fault"),
    [
        *(("get", source, "the id map takes a key") for source in ([1, 2], {"id": 1}, object(), (), ([1],))),
        *(("put", source, "`ids.put` is given ") for source in (None, nan, (None, 1))),
    ],
)
async def test_what_can_be_no_key_is_named_with_the_line(does: str, source: object, fault: str, tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE nodes (id INTEGER PRIMARY KEY)")
        app.execute("INSERT INTO nodes VALUES (1)")
    app.close()
    importer = Importer("things")

    @importer.applies("nodes", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        await (ctx.ids.get("nodes", source) if does == "get" else ctx.ids.put("nodes", source, "new"))

    movement = await move(str(tmp_path / "app.db"), ImporterDestination("things:x", importer, None), tmp_path)
    assert re.search(rf"test_waiting.py, line \d+: {fault}", movement.problems[0])


async def test_a_member_of_an_enum_is_the_id_that_its_value_is(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE colors (name TEXT PRIMARY KEY NOT NULL)")
        app.execute("INSERT INTO colors VALUES ('red')")
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, color TEXT)")
        app.execute("INSERT INTO things VALUES (1, 'red')")
    app.close()
    importer, found = Importer("enums"), list[str]()

    @importer.creates("colors", row=NamedColor)
    async def create(target: None, row: NamedColor, ctx: Import) -> str:
        return f"new {row.name.value}"

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        found.extend([await ctx.ids.need("colors", one.row["color"]) for one in batch.upserts])
        found.append(await ctx.ids.need("colors", (Color.RED,)))

    movement = await move(str(tmp_path / "app.db"), ImporterDestination("enums:x", importer, None), tmp_path)
    assert (movement.status, found[-2:]) == (pipeline.Status.SUCCESS, ["new red", "new red"])


async def test_records_that_wait_for_each_other_in_a_circle_are_named(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        for stream, other in (("teams", "users"), ("users", "teams")):
            app.execute(f"CREATE TABLE {stream} (id INTEGER PRIMARY KEY, parent INTEGER, kind TEXT)")
            app.execute(f"INSERT INTO {stream} VALUES (1, 1, '{other}'), (2, 1, '{other}'), (3, NULL, NULL)")
    app.close()
    tree = Tree("teams", "users")
    movement = await move(str(tmp_path / "app.db"), tree.destination(), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert (movement.totals.upserts, movement.totals.rejected) == (2, 4)
    told = "\n".join(movement.problems)
    assert (
        "key [1] was rejected: it is in a circle: teams '1' waits for users '1', users '1' waits for teams '1'" in told
    )
    assert (
        "key [1] was rejected: it is in a circle: users '1' waits for teams '1', teams '1' waits for users '1'" in told
    )
    assert "key [2] was rejected: it waits for the new id of users '1', which has not been imported" in told
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("UPDATE users SET parent = NULL WHERE id = 1")
    app.close()
    movement = await move(str(tmp_path / "app.db"), tree.destination(), tmp_path)
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    assert Counter(tree.made) == {1: 2, 2: 2, 3: 2}
    assert movement.totals.upserts == 4
