"""A revealed secret is in nothing that a command prints or stores, in whatever form an author's error or the kit quotes it."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cli.app import CommandLine, run_process

SECRET = "hunter2 x'y\"z/+\\"

PLUGIN = """
import base64, json, urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass

from pipeline.kit import Exporter, Page, Secret

@dataclass
class Row:
    id: int

@dataclass
class Settings:
    token: Secret

exporter = Exporter("app", contract="app/1")

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[str]:
    yield settings.token.reveal()
"""

RAISES = """
@exporter.rows("things", row=Row, key="id")
async def things(token: str) -> AsyncIterator[Row]:
    yield Row(1)
    basic = base64.b64encode(f"user:{token}".encode()).decode()
    raise ValueError({"auth": token}, urllib.parse.quote(token), json.dumps(token), "Basic " + basic)
"""

KEY = """
@exporter.rows("things", row=Row, key="id")
async def things(token: str) -> AsyncIterator[Row]:
    yield Row(token)
"""

NO_ROW = """
@exporter.rows("things", row=Row, key="id", ordered=True)
async def things(token: str) -> AsyncIterator[Row]:
    yield Row(token)
"""

UNCAUGHT = """
@exporter.rows("things", row=Row, key="id")
async def things(token: str) -> AsyncIterator[Row]:
    import asyncio, threading

    class Closed:
        def __del__(self) -> None:
            raise KeyError("finalizer", token)

    def thread() -> None:
        raise KeyError("thread", token)

    async def task() -> None:
        raise KeyError("task", token)

    begun = threading.Thread(target=thread)
    begun.start()
    begun.join()
    asyncio.create_task(task())
    await asyncio.sleep(0)
    Closed()
    yield Row(1)
"""

NEXT = """
@exporter.pages("things", row=Row, key="id")
async def things(token: str, after: str | None) -> Page[Row]:
    return Page([Row(1)], next=token)
"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", SECRET)


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize("stream", [RAISES, KEY, NO_ROW, NEXT], ids=["raises", "key", "ordered key", "next"])
def test_a_secret_is_neither_printed_nor_stored(
    stream: str, debug: tuple[str, ...], pipeline: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(PLUGIN + stream)
    done = pipeline("move", "./app.py:exporter", "copy.db", "--source-set", "token=env:THE_TOKEN", *debug)
    assert done.code != 0
    printed = done.out + done.err
    assert "***" in printed
    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    for form in ("hunter2", quote(SECRET), encoded, encoded[8:-4]):
        assert form not in printed
        for path in (tmp_path / ".pipeline").rglob("*"):
            assert not path.is_file() or form.encode() not in path.read_bytes(), path


def test_the_traceback_of_debug_names_the_authors_exception(pipeline: CommandLine, tmp_path: Path) -> None:
    ends_the_command = RAISES.replace('"Basic " + basic)', '"Basic " + basic) from ConnectionError()')
    (tmp_path / "app.py").write_text(PLUGIN + ends_the_command)
    done = pipeline("move", "./app.py:exporter", "copy.db", "--source-set", "token=env:THE_TOKEN", "--debug")
    assert "ValueError: ({'auth': '***'}, '***', '\"***\"', 'Basic ***')" in done.err


def test_what_nothing_catches_is_masked(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PLUGIN + UNCAUGHT)
    done = run_process("move", "./app.py:exporter", "copy.db", "--source-set", "token=env:THE_TOKEN", cwd=tmp_path)
    assert done.returncode == 0
    for where in ("thread", "task", "finalizer"):
        assert f"KeyError: ('{where}', '***')" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
