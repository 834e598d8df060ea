"""A stream that is removed from an Exporter is not one that is empty: what has been moved of it stays until a person decides."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, change
from tests.kit.plugins import write_plugin

APP = """\
@dataclass
class Row:
    id: int
    name: str

exporter, importer = Exporter("app", contract="app/1"), Importer("app", accepts="app/1")

def declare(stream: str, count: int) -> None:
    async def rows(client: None) -> AsyncIterator[Row]:
        for number in range(count):
            yield Row(number, stream)
    exporter.rows(stream, row=Row, key="id")(rows)

for line in Path("streams.txt").read_text().split():
    stream, _, count = line.partition("=")
    declare(stream, int(count))

@importer.applies("*", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
    with open("applied.jsonl", "a") as file:
        for record in batch.records:
            file.write(json.dumps([ctx.stream, type(record).__name__, record.key]) + "\\n")
"""
PROBLEM = (
    "c: 5 of 5 records of the destination are not at the source, and none of them was deleted. The source no longer has this "
    "stream: check that it is whole; to delete the records, add --allow-deletes c; to keep them, add --exclude c\n"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` beside an Exporter with the streams in streams.txt."""
    monkeypatch.chdir(tmp_path)
    write_plugin(tmp_path / "app.py", APP)
    return CommandLine(tmp_path, capsys)


def have(*streams: str) -> None:
    """Let the Exporter have these streams, each with its number of rows, as if another process loaded it."""
    Path("streams.txt").write_text(" ".join(streams))
    for name in [name for name in sys.modules if name.startswith("pipeline_plugin_")]:
        del sys.modules[name]


def rows(table: str) -> int:
    with closing(sqlite3.connect("copy.db")) as db:
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def test_a_flow_may_leave_out_a_stream_that_it_has_moved_and_the_source_has_no_more(run: CommandLine) -> None:
    have("a=5", "b=5", "c=5")
    assert run("move", "./app.py:exporter", "copy.db", "--flow", "app").code == 0
    have("a=5", "b=4")
    assert run("flow", "set", "app", "stream.c.include=false", "--yes").code == 0
    assert run("check", "app").code == 0
    moved = run("move", "--flow", "app")
    assert (moved.code, [rows(table) for table in "abc"]) == (0, [5, 4, 5]), moved.out
    unknown = run("flow", "set", "app", "stream.d.include=false", "--yes")
    assert (unknown.code, "the pattern matches no stream of the source" in unknown.err) == (2, True)


def test_its_records_stay_until_they_are_allowed_to_go(run: CommandLine) -> None:
    have("a=5", "b=5", "c=5")
    move = ("move", "./app.py:exporter", "copy.db", "--flow", "app")
    assert run(*move).code == 0
    have("a=5", "b=4")
    for _ in range(2):
        held = run(*move)
        assert (held.code, PROBLEM in held.out) == (1, True), held.out
        assert [rows(table) for table in "abc"] == [5, 4, 5]
    forecast = run(*move, "--dry-run")
    assert (forecast.code, PROBLEM in forecast.out) == (1, True), forecast.out
    assert run(*move, "--json").objects[-1]["held_deletes"] == {"c": {"deletes": 5, "rows": 5}}
    found = run("verify", "app")
    assert (found.code, "the source no longer has this stream" in found.out) == (1, True), found.out
    kept = run(*move, "--exclude", "c")
    assert (kept.code, rows("c")) == (0, 5), kept.out
    allowed = run(*move, "--allow-deletes", "c")
    assert (allowed.code, rows("c")) == (0, 0), allowed.out
    assert "  no longer at the source: c (5 records deleted)\n" in allowed.out
    assert "no longer at the source" not in run(*move).out
    assert run("verify", "app").code == 0


def test_it_goes_on_when_it_is_declared_again(run: CommandLine) -> None:
    have("a=5", "c=5")
    move = ("move", "./app.py:exporter", "copy.db", "--flow", "app")
    assert run(*move).code == 0
    have("a=5")
    assert run(*move).code == 1
    have("a=5", "c=6")
    last = run(*move, "--json").objects[-1]
    assert (last["status"], last["records"]) == ("SUCCESS", {"upserts": 1, "deletes": 0, "quarantined": 0})
    have("a=5", "c=0")
    last = run(*move, "--json").objects[-1]  # an empty list says something about the app
    assert (last["status"], last["records"]) == ("SUCCESS", {"upserts": 0, "deletes": 6, "quarantined": 0})


def test_an_app_keeps_the_objects_of_it(run: CommandLine) -> None:
    have("a=5", "c=5")
    move = ("move", "./app.py:exporter", "./app.py:importer", "--flow", "app")
    assert run(*move).code == 0
    have("a=5")
    assert PROBLEM in run(*move).out
    assert run(*move, "--allow-deletes", "*").code == 0
    applied = [json.loads(line) for line in Path("applied.jsonl").read_text().splitlines()]
    assert [one for one in applied if one[1] == "Delete"] == [["c", "Delete", number] for number in range(5)]


def test_a_stream_that_was_renamed_goes_and_is_named(run: CommandLine) -> None:
    have("a=5", "c=5")
    move = ("move", "./app.py:exporter", "copy.db", "--flow", "app")
    assert run(*move).code == 0
    have("a=5", "d=5")
    renamed = run(*move)
    assert (renamed.code, rows("c"), rows("d")) == (0, 0, 5), renamed.out
    assert "  no longer at the source: c (5 records deleted)\n" in renamed.out
    assert "stream_gone" in renamed.err


def test_a_table_that_a_database_no_longer_has_is_named(run: CommandLine) -> None:
    for table in ("a", "c"):
        change(Path("app.db"), f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        change(Path("app.db"), f"INSERT INTO {table} VALUES (1), (2)")
    move = ("move", "app.db", "copy.db", "--flow", "app")
    assert run(*move).code == 0
    change(Path("app.db"), "DROP TABLE c")
    gone = run(*move)
    assert (gone.code, rows("c")) == (0, 0)
    assert "  no longer at the source: c (2 records deleted)\n" in gone.out
