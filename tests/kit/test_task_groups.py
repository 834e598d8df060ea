"""What an author's function raises in a task group of its own means what it means elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import apsw
import pytest

import pipeline
from pipeline.kit import Again, Batch, Exporter, Import, Importer, Page, Refused, Stop
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.cli.app import contents
from tests.kit.app import COLUMNS, move

Row = dict[str, object]


async def fail(error: Exception) -> None:
    """Raise an error in a task."""
    async with anyio.create_task_group() as group:

        async def work() -> None:
            raise error

        group.start_soon(work)


@pytest.fixture
def source(tmp_path: Path) -> str:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        app.execute("INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    app.close()
    return str(tmp_path / "app.db")


@pytest.mark.parametrize("how", ["applies", "creates", "transaction"])
async def test_a_record_that_is_refused_in_a_task_is_rejected_alone(how: str, source: str, tmp_path: Path) -> None:
    importer, held, marks = Importer("app"), dict[object, object](), dict[str, bytes]()

    async def take(key: object, name: object) -> None:
        if name == "two":
            await fail(Refused("two is not allowed", column="name"))
        held[key] = name

    async def apply(target: object, batch: Batch[Row], ctx: Import) -> None:
        for upsert in batch.upserts:
            await take(upsert.key, upsert.row["name"])

    if how == "creates":

        @importer.creates("things", row=dict)
        async def create(target: None, row: Row, ctx: Import) -> str:
            await take(row["id"], row["name"])
            return str(row["id"])

        @create.find
        async def find(target: None, row: Row, ctx: Import) -> str | None:
            return None

    elif how == "applies":
        importer.applies("things", row=dict)(apply)
    else:

        @importer.transaction
        async def transaction(target: None) -> AsyncIterator[None]:
            before = dict(held)
            async with anyio.create_task_group():
                try:
                    yield
                except BaseException:
                    held.clear()
                    held.update(before)
                    raise

        @transaction.read_marks
        async def read_marks(tx: None) -> Mapping[str, bytes]:
            return marks

        @transaction.write_mark
        async def write_mark(tx: None, file: str, mark: bytes) -> None:
            marks[file] = mark

        importer.applies("things", row=dict, delivery="transaction")(apply)
    movement = await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    assert movement.problems == ("Event File 1/things/full/0, line 3, key [2] was rejected: two is not allowed",)
    assert held == {1: "one", 3: "three"}


async def test_what_an_exporter_raises_in_a_task_is_heard(tmp_path: Path) -> None:
    exporter, errors = Exporter("app"), [Again(after=0.001)] * 6 + [OSError("reset"), Again(after=0.001)]

    @exporter.pages("things", row=dict, columns=COLUMNS, key="id", order="stable")
    async def things(client: None, after: str | None) -> Page[Row]:
        if errors:
            await fail(errors.pop())
        return Page([{"id": 1, "name": "one"}])

    there = ExporterSource("app:source", exporter, None)
    await move(there, str(tmp_path / "copy.db"), tmp_path)
    assert contents(tmp_path / "copy.db", "things") == [(1, "one")]
    errors.append(Stop("closed"))
    movement = await move(there, str(tmp_path / "copy.db"), tmp_path)
    assert (movement.status, errors) == (pipeline.Status.INCOMPLETE, [])
    assert "has stopped: closed" in movement.problems[0]
