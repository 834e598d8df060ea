"""An author's function may raise what is no Exception: it has failed, as with one, and its line is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

import pipeline
from pipeline.kit import Batch, Exporter, Import, Importer, StagedFile
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import COLUMNS, move

Row = dict[str, Any]


class PanicException(BaseException):
    """What a module in Rust raises when it panics, as pyo3 makes it."""


PanicException.__module__ = "pyo3_runtime"
ERRORS = [GeneratorExit("broken off"), PanicException("broken off")]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("calls", "loading.outcomes", "loading.delivery.transactions"):
        monkeypatch.setattr(f"pipeline.kit.{module}.FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def source(tmp_path: Path) -> str:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO things VALUES (1, 'one')")
    app.close()
    return str(tmp_path / "app.db")


def loading(how: str, fail: Callable[[], None]) -> Importer:
    """Return an Importer whose function `how` fails."""
    importer = Importer("app")

    def fail_in(step: str) -> None:
        if how == step:
            fail()

    if how == "create":

        @importer.creates("things", row=dict)
        async def create(target: None, row: Row, ctx: Import) -> str:
            fail()
            return "1"

        @create.find
        async def find(target: None, row: Row, ctx: Import) -> str | None:
            return None

    elif how == "stage":

        @importer.stages("things", row=dict)
        async def stage(target: None, file: StagedFile[Row], ctx: Import) -> str:
            fail()
            return file.id

        @stage.publish
        async def publish(target: None, tokens: object, ctx: Import) -> None: ...

    else:

        @importer.transaction
        async def transaction(target: None) -> AsyncIterator[None]:
            fail_in("begin")
            yield
            fail_in("commit")

        @transaction.read_marks
        async def read_marks(tx: None) -> Mapping[str, bytes]:
            fail_in("read")
            return {}

        @transaction.write_mark
        async def write_mark(tx: None, file: str, mark: bytes) -> None:
            fail_in("write")

        @importer.applies("things", row=dict, delivery="transaction")
        async def apply(tx: None, batch: Batch[Row], ctx: Import) -> None:
            fail_in("apply")

    return importer


@pytest.mark.parametrize("error", ERRORS, ids=["GeneratorExit", "panic"])
@pytest.mark.parametrize("how", ["create", "stage", "begin", "read", "apply", "write", "commit"])
async def test_a_handler_has_failed(how: str, error: BaseException, source: str, tmp_path: Path) -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append(how)
        raise error

    movement = await move(source, ImporterDestination("app:x", loading(how, fail), None), tmp_path)
    assert (movement.status, len(calls)) == (pipeline.Status.FAILED, 4)
    assert f"{type(error).__name__}: broken off ({__file__}" in movement.problems[0]


@pytest.mark.parametrize("error", ERRORS, ids=["GeneratorExit", "panic"])
@pytest.mark.parametrize("times", [1, 9])
async def test_a_list_that_breaks_off_is_read_again(times: int, error: BaseException, tmp_path: Path) -> None:
    exporter, left = Exporter("app"), times

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: None) -> AsyncIterator[Row]:
        nonlocal left
        yield {"id": 1, "name": "one"}
        if left:
            left -= 1
            raise error
        yield {"id": 2, "name": "two"}

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    if times == 1:
        assert (movement.status, movement.totals.upserts) == (pipeline.Status.SUCCESS, 2)
    else:
        assert (movement.status, movement.totals.upserts) == (pipeline.Status.INCOMPLETE, 0)
        assert f"{type(error).__name__}: broken off ({__file__}" in movement.problems[0]
