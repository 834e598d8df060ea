"""A reload gives every row again: one that is as it was loaded needs no `update`, where the handler has none."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

import pipeline
from tests.kit.plugins import write_plugin

PLUGIN = """\
adding, updating = Importer("adding"), Importer("updating")

def note(what: str) -> None:
    with Path(__file__).with_name("calls").open("a") as calls:
        calls.write(f"{what}\\n")

async def create(target: None, row: dict[str, object], ctx: Import) -> str:
    note(f"create-{row['id']}")
    return f"new-{row['id']}"

async def find(target: None, row: dict[str, object], ctx: Import) -> None:
    return None

for importer in (adding, updating):
    made = importer.creates("things", row=dict)(create)
    made.find(find)

@made.update
async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
    note(f"update-{row['id']}")
"""


class World:
    """A database of three things, and an app that notes what it is called for."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.source = directory, str(directory / "app.db")
        self.plugin = write_plugin(directory / "app.py", PLUGIN)
        self.settings = pipeline.Settings(home=directory / "home")
        self.change("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, at REAL)")
        self.change("INSERT INTO things VALUES (1, 'one', 1.5), (2, 'two', NULL), (3, 'three\nlines', -0.0)")

    def change(self, statement: str) -> None:
        with apsw.Connection(self.source) as app:
            app.execute(statement)
        app.close()

    def calls(self) -> list[str]:
        """Return what was called, sorted, and forget it."""
        path = self.directory / "calls"
        found = sorted(path.read_text().split()) if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    async def move(self, name: str) -> pipeline.Movement:
        return await pipeline.move(self.source, f"{self.plugin}:{name}", flow="app", settings=self.settings)

    async def reload(self) -> pipeline.Movement:
        return await pipeline.reload("app", "things", settings=self.settings)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_rows_that_are_as_they_were_loaded_need_no_update(world: World) -> None:
    assert (await world.move("adding")).status is pipeline.Status.SUCCESS
    assert world.calls() == ["create-1", "create-2", "create-3"]
    movement = await world.reload()
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    assert (movement.totals.upserts, world.calls()) == (3, [])


async def test_a_row_that_has_changed_is_rejected_until_it_is_as_it_was(world: World) -> None:
    await world.move("adding")
    world.change("UPDATE things SET name = 'changed' WHERE id = 2")
    movement = await world.reload()
    (problem,) = movement.problems
    assert "key [2] was rejected: it has changed, and the handler of 'things' has no `update`" in problem
    world.change("UPDATE things SET name = 'two' WHERE id = 2")
    movement = await world.move("adding")
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    assert world.calls() == ["create-1", "create-2", "create-3"]


async def test_each_row_is_updated_where_the_handler_can(world: World) -> None:
    await world.move("updating")
    assert (await world.reload()).status is pipeline.Status.SUCCESS
    assert world.calls() == ["create-1", "create-2", "create-3", "update-1", "update-2", "update-3"]
