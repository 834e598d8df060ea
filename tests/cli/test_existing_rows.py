"""The first load of a stream overwrites no record of the destination without `--overwrite`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.comparison.report import StreamReport
from pipeline.domain.errors import UnreadableError
from pipeline.engine.verify.stream_comparison import StreamComparison
from tests.cli.app import CommandLine, change, contents, make_database
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer

MOVE = ("move", "app.db", "copy.db", "--flow", "crm")


def seeded(pipeline: CommandLine, *changes: str) -> Path:
    """Make a source, and a destination that an app has filled with the same rows, changed by these statements."""
    make_database(pipeline.directory / "app.db")
    copy = make_database(pipeline.directory / "copy.db", rows=3)
    for statement in changes:
        change(copy, statement)
    return copy


def names(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, name FROM people").fetchall())


def test_equal_rows_are_no_obstacle_and_rows_of_its_own_stay_and_are_named(pipeline: CommandLine) -> None:
    copy = seeded(pipeline, "INSERT INTO people VALUES (900, 'Own', 1)")
    moved = pipeline(*MOVE)
    assert moved.code == 0
    assert "existing_rows_found" in moved.err
    assert "rows=4" in moved.err
    assert "not_at_source=1" in moved.err
    assert names(copy) == names(pipeline.directory / "app.db") | {900: "Own"}


def test_a_row_with_other_values_is_overwritten_only_on_request(pipeline: CommandLine) -> None:
    copy = seeded(
        pipeline, "UPDATE people SET name = 'Mine' WHERE id = 2", "CREATE TABLE empty (id INTEGER PRIMARY KEY)"
    )
    before = contents(copy)
    refused = pipeline(*MOVE)
    assert refused.code == 1
    assert "Nothing was moved. people: 1 of 3 ([2])" in refused.err
    assert "--overwrite" in refused.err
    assert contents(copy) == before
    assert "There is no Flow" in pipeline("status").out
    assert pipeline(*MOVE, "--overwrite").code == 0
    assert contents(copy) == contents(pipeline.directory / "app.db")


def test_a_flow_that_has_loaded_a_stream_never_asks_again(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline(*MOVE).code == 0
    change(pipeline.directory / "copy.db", "UPDATE people SET name = 'Mine' WHERE id = 2")
    change(pipeline.directory / "app.db", "UPDATE people SET name = 'New' WHERE id = 2")
    assert pipeline(*MOVE).code == 0
    change(pipeline.directory / "app.db", "UPDATE people SET name = 'Newer' WHERE id = 2")
    assert pipeline(*MOVE, "--home", "another").code == 0  # created again: its memory was lost
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")


def test_a_column_that_the_table_lacks_is_no_other_value(pipeline: CommandLine) -> None:
    copy = seeded(pipeline)
    change(pipeline.directory / "app.db", "ALTER TABLE people ADD COLUMN note TEXT DEFAULT 'x'")
    assert pipeline(*MOVE).code == 0
    assert names(copy) == names(pipeline.directory / "app.db")


def test_a_stream_that_cannot_be_read_does_not_keep_the_others_from_arriving(
    pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = seeded(pipeline)
    for name, size in (("app.db", 1), ("copy.db", 2)):
        change(pipeline.directory / name, "CREATE TABLE odd (id INTEGER PRIMARY KEY, size INTEGER)")
        change(pipeline.directory / name, f"INSERT INTO odd VALUES (1, {size})")
    read = StreamComparison.run

    async def refused(self: StreamComparison, *sides: Any) -> StreamReport:
        report = await read(self, *sides)
        if report.stream == "odd":
            raise UnreadableError("a privilege is missing", "table")
        return report

    monkeypatch.setattr(StreamComparison, "run", refused)
    moved = pipeline(*MOVE)
    assert (moved.code, "a privilege is missing" in moved.err) == (0, True)
    assert names(copy) == names(pipeline.directory / "app.db")


def test_a_file_with_other_content_is_overwritten_only_on_request(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "files", pipeline.directory / "copies"
    for directory, name, text in (
        (here, "a", "1"),
        (here, "b", "2"),
        (there, "a", "1"),
        (there, "b", "mine"),
        (there, "c", "own"),
    ):
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    refused = pipeline("move", "files", "copies", "--flow", "f")
    assert refused.code == 1
    assert '@files: 1 of 3 (["b"])' in refused.err
    assert (there / "b").read_text() == "mine"
    (there / "b").unlink()
    assert pipeline("move", "files", "copies", "--flow", "f").code == 0
    (there / "b").write_text("mine")
    (here / "b").write_text("later")
    assert pipeline("move", "files", "copies", "--flow", "f").code == 0
    assert {path.name: path.read_text() for path in there.iterdir() if path.is_file()} == {
        "a": "1",
        "b": "later",
        "c": "own",
    }


def test_a_table_of_postgresql_with_other_rows_is_overwritten_only_on_request(
    pipeline: CommandLine, postgresql: PostgresqlServer
) -> None:
    make = place_factory(postgresql)
    here, there = make(), make()
    for place, text in ((here, "source"), (there, "mine")):
        place.run("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'same')")
        place.run(f"INSERT INTO t VALUES (2, '{text}')")
    refused = pipeline("move", here.uri, there.uri, "--flow", "f")
    assert (refused.code, "t: 1 of 2 ([2])" in refused.err) == (1, True)
    assert pipeline("move", here.uri, there.uri, "--flow", "f", "--overwrite").code == 0
    here.run("UPDATE t SET v = 'newer'")
    assert pipeline("move", here.uri, there.uri, "--flow", "f", "--home", "another").code == 0
    assert there.rows("SELECT DISTINCT v FROM t") == [("newer",)]
