"""With --json, standard output has JSON and nothing else, whatever an author's file prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, run_process
from tests.kit.plugins import write_plugin

APP = """\
print("the module is loaded")

@dataclass
class Person:
    id: int
    name: str

exporter = Exporter("people")
importer = Importer("store")

@exporter.connect
@importer.connect
async def connect() -> AsyncIterator[None]:
    print("connected")
    yield

@exporter.rows("people", row=Person, key="id", ordered=True)
async def people(client: None) -> AsyncIterator[Person]:
    for number in range(3):
        print("a row")
        yield Person(number, "name")

@importer.applies("people", row=Person)
async def apply(target: None, batch: Batch[Person], ctx: Import) -> None:
    print("a batch")
    for record in batch.upserts[:1]:
        batch.refuse(record, "no room")

@importer.dump
async def dump(target: None) -> AsyncIterator[tuple[str, int, Person]]:
    print("a dumped row")
    yield "people", 1, Person(1, "name")

@exporter.scratch
async def scratch() -> AsyncIterator[None]:
    yield
"""
COMMANDS = (
    "check ./app.py:exporter copy.db",
    "move ./app.py:exporter copy.db --flow out --dry-run",
    "move ./app.py:exporter copy.db --flow out",
    "move copy.db ./app.py:importer --flow in",
    "move copy.db ./absent.py:importer --flow none",
    "verify out",
    "verify out --repair",
    "rerun in",
    "reload out people",
    "retry in",
    "rejected in",
    "status",
    "history out",
    "log in",
    "files out",
    "show 1/people/full/0 --flow out",
    "flow create more ./app.py:exporter more.db",
    "flow show out",
    "flow list",
    "start more",
    "pause more",
    "resume more",
    "stop more",
    "compact out",
    "prune out",
    "rebuild out",
    "apps",
    "flow remove more --yes",
)


def test_each_command_prints_json_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_plugin(tmp_path / "app.py", APP)
    pipeline = CommandLine(tmp_path, capsys)
    printing = []
    for command in COMMANDS:
        done = pipeline(*command.split(), "--json")
        assert all(isinstance(json.loads(line), dict) for line in done.out.splitlines()), command
        printing += [command.split()[0]] * ("connected" in done.err)
    assert set(printing) == {"check", "move", "verify", "rerun", "reload", "retry", "rejected", "rebuild"}
    assert "connected" in pipeline("verify", "out").out


def test_torture_prints_json_alone(tmp_path: Path) -> None:
    write_plugin(tmp_path / "app.py", APP)
    done = run_process("torture", "./app.py:exporter", "--seed", "1", "--json", cwd=tmp_path)
    assert isinstance(json.loads(done.stdout), dict), done.stderr
    assert "a row" in done.stderr
