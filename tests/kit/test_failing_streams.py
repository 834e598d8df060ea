"""A stream whose function always raises fails alone: the others are moved, and nothing of it is deleted."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipeline
from pipeline.kit import Changes, Exporter, Page
from pipeline.kit.calls import translated
from pipeline.kit.reading.source import ExporterSource
from tests.cli.app import contents
from tests.kit.app import COLUMNS, move

Row = dict[str, object]
HEALTHY = [{"id": 7, "name": "healthy"}]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.calls.FIRST_PAUSE_SECONDS", 0.001)


@dataclass
class FailingApp:
    """An app with the streams `a_things`, which raises `error` if there is one, and `others`."""

    how: str
    error: BaseException | None = None
    calls: int = 0

    def fail(self) -> None:
        if self.error is not None:
            self.calls += 1
            raise self.error

    @property
    def numbers(self) -> list[int]:
        return [1] if self.how == "fetch" and self.error is not None else [1, 2]

    def source(self) -> ExporterSource:
        exporter = Exporter("app")
        match self.how:
            case "rows" | "ordered":

                @exporter.rows("a_things", row=dict, columns=COLUMNS, key="id", ordered=self.how == "ordered")
                async def rows(client: None) -> AsyncIterator[Row]:
                    yield {"id": 1, "name": "x"}
                    self.fail()
                    yield {"id": 2, "name": "x"}

            case "pages" | "fetch":

                @exporter.pages("a_things", row=dict, columns=COLUMNS, key="id")
                async def pages(client: None, after: str | None) -> Page[Row]:
                    if self.how == "pages":
                        self.fail()
                    return Page([{"id": number, "name": "x"} for number in self.numbers])

                @exporter.fetch("a_things")
                async def fetch(client: None, keys: Sequence[int]) -> Sequence[Row]:
                    self.fail()
                    return []

            case _:

                @exporter.changes("a_things", row=dict, columns=COLUMNS, key="id")
                async def changes(client: None, since: str | None) -> Changes[Row]:
                    self.fail()
                    return Changes([{"id": number, "name": "x"} for number in self.numbers], cursor="1")

        @exporter.pages("others", row=dict, columns=COLUMNS, key="id")
        async def others(client: None, after: str | None) -> Page[Row]:
            return Page(HEALTHY)

        return ExporterSource("app:source", exporter, None)


@pytest.mark.parametrize("how", ["rows", "ordered", "pages", "changes"])
async def test_a_stream_that_always_fails_leaves_the_others_alone(how: str, tmp_path: Path) -> None:
    app, copy = FailingApp(how, ValueError("always")), str(tmp_path / "copy.db")
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.status, app.calls) == (pipeline.Status.INCOMPLETE, 4)
    assert re.search(rf"a_things.*: ValueError: always \({__file__}, line \d+\)", movement.problems[0])
    assert contents(tmp_path / "copy.db", "others") == [(7, "healthy")]
    app.error = None
    assert (await move(app.source(), copy, tmp_path)).status is pipeline.Status.SUCCESS
    assert contents(tmp_path / "copy.db", "a_things") == [(1, "x"), (2, "x")]


@pytest.mark.parametrize("how", ["rows", "ordered", "pages", "changes", "fetch"])
async def test_nothing_of_a_stream_that_fails_is_deleted(how: str, tmp_path: Path) -> None:
    app, copy = FailingApp(how), str(tmp_path / "copy.db")
    await move(app.source(), copy, tmp_path)
    app.error = ValueError("always")
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.status, movement.totals.deletes) == (pipeline.Status.INCOMPLETE, 0)
    assert contents(tmp_path / "copy.db", "a_things") == [(1, "x"), (2, "x")]


class LibraryError(Exception):
    """What a client library raises in the place of the system's error."""


@pytest.mark.parametrize("explicit", [True, False])
async def test_an_app_that_does_not_answer_is_waited_for(explicit: bool, tmp_path: Path) -> None:
    error = LibraryError("no answer")
    if explicit:
        error.__cause__ = TimeoutError()
    else:
        error.__context__ = ConnectionRefusedError()
    app, copy = FailingApp("pages", error), str(tmp_path / "copy.db")
    with pytest.raises(pipeline.TransientError, match="LibraryError: no answer"):
        await move(app.source(), copy, tmp_path)
    app.error = None
    movement = await move(app.source(), copy, tmp_path)
    assert (movement.number, movement.status) == (1, pipeline.Status.SUCCESS)


async def test_a_connection_that_cannot_be_opened_ends_the_command(tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.connect
    async def connect() -> AsyncIterator[None]:
        if exporter.name:
            raise ValueError("no door")
        yield

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: None) -> AsyncIterator[Row]:
        yield {"id": 1, "name": "x"}

    with pytest.raises(pipeline.TransientError, match="connecting to app:source: ValueError: no door"):
        await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)


@pytest.mark.parametrize("how", ["rows", "pages"])
async def test_an_exit_in_a_function_ends_its_stream_and_not_the_command(how: str, tmp_path: Path) -> None:
    app = FailingApp(how, SystemExit("no token"))
    movement = await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert re.search(r"SystemExit: no token \(.*test_failing_streams.py, line \d+\)", movement.problems[0])
    assert contents(tmp_path / "copy.db", "others") == [(7, "healthy")]


class ClientConnectionError(Exception):
    """Has the name of aiohttp's class, of which that says what it is."""


class ServerDisconnectedError(ClientConnectionError):
    """What aiohttp raises when a server closes the connection."""


def in_a_group() -> BaseException:
    """Return an error whose cause is a group that holds it, as the most urgent one of a task group has it."""
    error = ValueError("no row")
    error.__cause__ = ExceptionGroup("reading failed", [error])
    return error


def chained(cause: Exception) -> BaseException:
    error = ValueError("no answer")
    error.__cause__ = ExceptionGroup("all addresses failed", [cause, cause])
    return error


@pytest.mark.parametrize(
    ("error", "is_stream_fault"),
    [
        (in_a_group(), True),
        (chained(KeyError("x")), True),
        (OSError(errno.ENOENT, "no file"), True),
        (chained(ConnectionRefusedError()), False),
        (socket.gaierror(-3, "no name server"), False),
        (OSError(errno.EHOSTUNREACH, "no route"), False),
        (ServerDisconnectedError(), False),
    ],
)
def test_an_app_that_is_away_is_told_from_a_stream_that_fails(error: BaseException, is_stream_fault: bool) -> None:
    found = translated(error, test_an_app_that_is_away_is_told_from_a_stream_that_fails, "reading", reads_stream=True)
    assert isinstance(found, pipeline.TransientError) is not is_stream_fault
