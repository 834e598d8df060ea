"""A task that an author's function waits for may be cancelled: nothing counts as done that was not, and the line is named."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import pipeline
from pipeline.kit import Again, Batch, Exporter, Import, Importer, StagedFile
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, move

Row = dict[str, Any]
KINDS = ("creates", "updates", "deletes", "applies", "stages")


class Connection:
    """A client whose request for the row 3 is cancelled under its caller, as often as `cancels`; it holds what was sent.

    `own`: the task of the caller is cancelled. `late`: it is cancelled when the row 4 has been sent.
    """

    late = False

    def __init__(self, cancels: int, *, own: bool = False) -> None:
        self.cancels, self.own, self.held = cancels, own, dict[int, object]()

    async def send(self, key: int, value: object) -> None:
        """Keep a value, or delete it if it is None."""

        async def request() -> None:
            await asyncio.sleep(0)
            self.held.pop(key, None)
            if value is not None:
                self.held[key] = value

        task, current = asyncio.create_task(request()), asyncio.current_task()
        if key == 3 and self.cancels:
            self.cancels -= 1
            (current if self.own and current else task).cancel()
        await task
        if key == 4 and self.late and current:
            self.late = False
            current.cancel()


def destination(how: str, client: Connection) -> ImporterDestination:
    """Return an Importer through the client."""
    importer = Importer("app")
    if how == "applies":

        @importer.applies("things", row=dict)
        async def apply(target: None, batch: Batch[Row], ctx: Import) -> None:
            for upsert in batch.upserts:
                await client.send(upsert.row["id"], upsert.row["name"])

    elif how == "stages":

        @importer.stages("things", row=dict)
        async def stage(target: None, file: StagedFile[Row], ctx: Import) -> str:
            for upsert in file.upserts:
                await client.send(upsert.row["id"], upsert.row["name"])
            return file.id

        @stage.publish
        async def publish(target: None, tokens: object, ctx: Import) -> None: ...

    else:

        @importer.creates("things", row=dict)
        async def create(target: None, row: Row, ctx: Import) -> str:
            await client.send(row["id"], row["name"])
            return str(row["id"])

        @create.find
        async def find(target: None, row: Row, ctx: Import) -> str | None:
            return str(row["id"]) if row["id"] in client.held else None

        @create.update
        async def update(target: None, id_: str, row: Row, ctx: Import) -> None:
            await client.send(row["id"], row["name"])

        @create.delete
        async def delete(target: None, id_: str, ctx: Import) -> None:
            await client.send(int(id_), None)

    return ImporterDestination("app:destination", importer, None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    run(tmp_path / "app.db", "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    run(tmp_path / "app.db", "INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')")
    return tmp_path / "app.db"


def run(path: Path, statement: str) -> None:
    """Run a statement."""
    with apsw.Connection(str(path)) as app:
        app.execute(statement)
    app.close()


async def begin(how: str, source: Path, tmp_path: Path, *, cancels: int, own: bool = False) -> tuple[Connection, Any]:
    """Bring a Movement to where the request of the row 3 is to be cancelled; return the client and the destination."""
    client = Connection(0 if how in ("updates", "deletes") else cancels, own=own)
    there = destination(how, client)
    if how in ("updates", "deletes"):
        await move(str(source), there, tmp_path)
        client.cancels = cancels
        run(source, "DELETE FROM things WHERE id = 3" if how == "deletes" else "UPDATE things SET name = 'new'")
    return client, there


def wanted(how: str) -> dict[int, object]:
    """Return what the app holds at the end."""
    if how == "updates":
        return dict.fromkeys(range(1, 5), "new")
    names = {1: "one", 2: "two", 3: "three", 4: "four"}
    return {number: name for number, name in names.items() if how != "deletes" or number != 3}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("how", KINDS)
async def test_what_was_cancelled_once_is_done_again(how: str, own: bool, source: Path, tmp_path: Path) -> None:
    client, there = await begin(how, source, tmp_path, cancels=1, own=own)
    movement = await move(str(source), there, tmp_path)
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    assert client.held == wanted(how)


@pytest.mark.parametrize("how", ["creates", "applies", "stages"])
async def test_a_function_that_returns_in_a_task_that_it_has_cancelled_is_called_again(
    how: str, source: Path, tmp_path: Path
) -> None:
    client, there = await begin(how, source, tmp_path, cancels=0)
    client.late = True
    movement = await move(str(source), there, tmp_path)
    assert (movement.status, movement.problems, client.late) == (pipeline.Status.SUCCESS, (), False)
    assert client.held == wanted(how)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("how", KINDS)
async def test_what_is_always_cancelled_has_failed_with_the_authors_line(
    how: str, own: bool, source: Path, tmp_path: Path
) -> None:
    client, there = await begin(how, source, tmp_path, cancels=1000, own=own)
    movement = await move(str(source), there, tmp_path)
    assert movement.status in (pipeline.Status.FAILED, pipeline.Status.INCOMPLETE)
    cancelled = (
        r"TaskCancelledError: it was cancelled, or a task that it waited for \(.*test_cancelled_tasks.py, line \d+\)"
    )
    assert re.search(cancelled, movement.problems[0])
    client.cancels = 0
    movement = await move(str(source), there, tmp_path)
    assert (movement.status, client.held) == (pipeline.Status.SUCCESS, wanted(how))


@pytest.mark.parametrize("own", [False, True])
async def test_a_stream_whose_function_is_cancelled_is_named_and_the_others_go_on(own: bool, tmp_path: Path) -> None:
    exporter, client = Exporter("app"), Connection(1000, own=own)

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id")
    async def rows(_: None) -> AsyncIterator[Row]:
        await client.send(3, "three")
        yield {"id": 3, "name": "three"}

    @exporter.rows("others", row=dict, columns=COLUMNS, key="id")
    async def others(_: None) -> AsyncIterator[Row]:
        yield {"id": 1, "name": "one"}

    source = ExporterSource("app:source", exporter, None)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, movement.totals.upserts) == (pipeline.Status.INCOMPLETE, 1)
    assert "TaskCancelledError" in movement.problems[0]


@pytest.mark.parametrize("after", [math.nan, None, "1"])
def test_a_wait_that_is_no_number_is_named(after: Any) -> None:
    with pytest.raises(ValueError, match=rf"Again\(after={after!r}\) is no number of seconds"):
        Again(after)
