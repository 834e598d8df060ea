"""What a handler tells people, and what went wrong: readable afterwards, whatever becomes of the process."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import apsw
import orjson
import pytest

import pipeline
from pipeline.assembly.commands.people_log import Told, read_log
from pipeline.cli.main import run
from pipeline.codec.documents.people import MAX_FEEDBACK_BYTES
from pipeline.domain.ids import EventFileId, FlowName, Phase, StreamName
from pipeline.kit import Batch, Import, Importer
from pipeline.kit.ledger.people_log import LINES_AT_ONCE, PeopleLog
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.settings import Settings
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.kit.app import move

Tell = Callable[[Import], object]
FILE = EventFileId(1, StreamName("things"), Phase.FULL, 0)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    with apsw.Connection("app.db") as app:
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        app.execute("INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    return str(tmp_path / "app.db")


class Killed(BaseException):
    """The process dies here."""


def destination(tell: Tell) -> ImporterDestination:
    importer = Importer("people")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        tell(ctx)

    return ImporterDestination("app:destination", importer, None)


async def told(tmp_path: Path, flow: str) -> list[Told]:
    return [one async for one in read_log(flow, settings=Settings(home=tmp_path / "home"))]


async def test_what_was_told_is_in_the_log_and_nothing_is_cut(source: str, tmp_path: Path) -> None:
    text = "a long line: " + "x" * 70_000

    def tell(ctx: Import) -> None:
        for number in range(5_000):
            ctx.tell(f"line {number}")
        ctx.tell(text)

    movement = await move(source, destination(tell), tmp_path)
    found = await told(tmp_path, movement.flow)
    assert [one.line.text for one in found] == [*(f"line {number}" for number in range(5_000)), text]
    assert {(one.movement, one.line.file, one.line.line) for one in found} == {(1, "1/things/full/0", 2)}


async def test_a_handler_that_fails_or_dies_has_told_what_it_told(source: str, tmp_path: Path) -> None:
    moments: list[str] = []

    def tell(ctx: Import) -> None:
        ctx.tell(f"attempt {len(moments)}")
        ctx.feedback({"attempt": len(moments)})
        moments.append("told")
        if len(moments) == 1:
            raise Killed

    with pytest.raises(Killed):
        await move(source, destination(tell), tmp_path)
    movement = await move(source, destination(tell), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert [one.line.text for one in await told(tmp_path, movement.flow)] == ["attempt 0", "attempt 1"]
    (status,) = await pipeline.status(movement.flow, settings=Settings(home=tmp_path / "home"))
    assert isinstance(status, pipeline.FlowStatus)
    assert status.feedback == {"people": {"attempt": 1}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("x" * MAX_FEEDBACK_BYTES, "ctx.feedback takes at most 65,536 bytes as JSON"),
        ({1, 2}, "ctx.feedback takes what JSON can hold"),
        (float("nan"), "ctx.feedback takes what JSON can hold"),
    ],
)
async def test_feedback_that_cannot_be_stored_is_the_authors_error(
    document: object, message: str, source: str, tmp_path: Path
) -> None:
    movement_error = ""
    try:
        movement = await move(source, destination(lambda ctx: ctx.feedback(document)), tmp_path)
        movement_error = " ".join(movement.problems)
    except pipeline.PipelineError as error:
        movement_error = str(error)
    assert re.search(rf"test_people_log.py, line \d+: {re.escape(message)}", movement_error), movement_error


async def test_of_two_workers_the_newest_feedback_wins_and_both_logs_stay() -> None:
    store = MemoryObjectStore()
    older, newer = (PeopleLog(store, FlowName("crm"), "people", 1) for _ in range(2))
    older.feedback({"n": 1})
    older.tell(str(FILE), 2, "one")
    newer.feedback({"n": 2})
    newer.tell(str(FILE), 2, "two")
    async with anyio.create_task_group() as group:
        group.start_soon(newer.store)
        group.start_soon(older.store)
    await older.store()
    kept = {key: data for key, data in store.contents() if "/feedback/" in key}
    assert [json.loads(data)["document"] for data in kept.values()] == [{"n": 2}]
    assert len([key for key, _ in store.contents() if "/log/" in key]) == 2


async def test_awaiting_bounds_what_is_in_memory() -> None:
    store = MemoryObjectStore()
    people_log = PeopleLog(store, FlowName("crm"), "people", 1)
    for number in range(3 * LINES_AT_ONCE):
        await people_log.tell(str(FILE), 2, f"{number}")
    assert len(list(store.contents())) == 3


async def test_log_prints_lines_json_and_csv(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '=a "quoted" line, with\nbreaks and \x1b[31m colours'
    movement = await move(source, destination(lambda ctx: ctx.tell(text)), tmp_path)
    home = ["--home", str(tmp_path / "home")]

    def ran(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["log", movement.flow, *arguments, *home]) == 0
        return capsys.readouterr().out

    shown = await anyio.to_thread.run_sync(ran)
    assert "1/things/full/0, line 2" in shown
    assert "\x1b" not in shown
    found = orjson.loads(await anyio.to_thread.run_sync(lambda: ran("--json")))
    assert (found["movement"], found["file"], found["line"], found["text"]) == (1, "1/things/full/0", 2, text)
    file = tmp_path / "log.csv"
    assert "1 line written" in await anyio.to_thread.run_sync(lambda: ran("--csv", str(file)))
    with file.open(newline="") as rows:
        assert [row["text"] for row in csv.DictReader(rows)] == [f"'{text}"]  # it begins like a formula
    assert await anyio.to_thread.run_sync(run, ["log", movement.flow, "--movement", "7", *home]) == 1
    assert "has no Movement 7" in capsys.readouterr().err


async def test_the_first_error_has_a_type_and_a_trace_without_values(source: str, tmp_path: Path) -> None:
    def fail(ctx: Import) -> None:
        secret = "hunter2"
        raise LookupError(f"no {secret}")

    movement = await move(source, destination(fail), tmp_path)
    assert movement.status is pipeline.Status.FAILED
    first = movement.first_error
    assert first is not None
    assert (first.file, first.exception) == ("1/things/full/0", "LookupError")
    assert first.trace[-1].startswith("test_people_log.py, line ")
    assert first.trace[-1].endswith(", in fail")
    assert any(line.startswith("pipeline/kit/") for line in first.trace)
    assert "hunter2" not in str(first.trace)
    assert sum(movement.reasons.values()) == 1


async def test_reasons_are_counted(source: str, tmp_path: Path) -> None:
    importer = Importer("people")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        for record in batch.records:
            batch.refuse(record, "too long" if record.line < 4 else "too short", column="name")

    movement = await move(source, ImporterDestination("app:destination", importer, None), tmp_path)
    assert movement.reasons == {"too long": 2, "too short": 1}
    assert movement.first_error is not None
    assert (movement.first_error.line, movement.first_error.column) == (2, "name")
