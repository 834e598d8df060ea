"""`pipeline move` from end to end, on the real engine."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, change, contents, make_database, run_process

FIELDS = {
    "flow",
    "movement",
    "original_movement",
    "status",
    "reason",
    "sentence",
    "wish",
    "group_wishes",
    "event_files",
    "records",
    "waiting",
    "binary_files",
    "bytes",
    "seconds",
    "problems",
    "rejected_at_source",
    "held_deletes",
    "inventory",
    "time_left_shown",
    "reasons",
    "first_error",
}


def test_all_rows_arrive_and_the_last_object_is_the_result(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json")
    assert outcome.code == 0
    assert contents(pipeline.directory / "copy.db") == contents(source)
    last = outcome.objects[-1]
    assert last.keys() == FIELDS
    assert (last["flow"], last["movement"], last["status"]) == ("crm", 1, "SUCCESS")
    assert last["event_files"] == {"exported": 1, "imported": 1, "skipped": 0, "failed": 0}
    assert last["records"] == {"upserts": 100, "deletes": 0, "quarantined": 0}
    assert last["binary_files"] == {"stored": 0, "reused": 0, "imported": 0, "failed": 0}
    assert last["problems"] == []


def test_a_second_move_costs_what_changed(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db").code == 0
    change(source, "UPDATE people SET name = 'New' WHERE id = 7")
    change(source, "DELETE FROM people WHERE id = 8")
    last = pipeline("move", "app.db", "copy.db", "--json").objects[-1]
    assert last["event_files"] == {"exported": 1, "imported": 1, "skipped": 1, "failed": 0}
    assert last["records"] == {"upserts": 1, "deletes": 1, "quarantined": 0}
    last = pipeline("move", "app.db", "copy.db", "--json").objects[-1]
    assert last["event_files"] == {"exported": 0, "imported": 0, "skipped": 2, "failed": 0}
    assert contents(pipeline.directory / "copy.db") == contents(source)


def test_the_summary_has_a_line_for_each_group(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm")
    assert outcome.out.splitlines()[0] == "Flow crm, Movement 1"
    assert "  people        100          1         1        0      100        0         0       0" in outcome.out
    assert outcome.out.splitlines()[-1] == "SUCCESS: everything that is listed has been imported."


def test_one_file_system_is_a_setting_of_what_reads_the_source(pipeline: CommandLine, mounted: Path) -> None:
    (mounted / "f").touch()
    outcome = pipeline("move", "tree", "copy", "--one-file-system", "--flow", "crm")
    assert outcome.code == 0
    assert "not moved: 1 mount point (inner)" in outcome.out
    assert list((pipeline.directory / "copy" / "inner").iterdir()) == []
    assert pipeline("verify", "crm", "--one-file-system").code == 0
    assert pipeline("verify", "crm").code == 1


def test_attachments_go_along(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    (pipeline.directory / "in").mkdir()
    (pipeline.directory / "in" / "a.txt").write_bytes(b"content")
    outcome = pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--json")
    assert outcome.code == 0
    assert (pipeline.directory / "out" / "a.txt").read_bytes() == b"content"
    assert outcome.objects[-1]["binary_files"] == {"stored": 1, "reused": 0, "imported": 1, "failed": 0}


def test_a_database_in_the_tree_that_goes_along_is_moved_as_a_database(pipeline: CommandLine) -> None:
    (pipeline.directory / "app").mkdir()
    source = make_database(pipeline.directory / "app" / "app.db")
    change(source, "PRAGMA journal_mode=WAL")
    (pipeline.directory / "app" / "a.txt").write_bytes(b"content")
    (pipeline.directory / "backup").mkdir()
    for skipped in (0, 2):
        outcome = pipeline("move", "app/app.db", "backup/app.db", "--files", "app", "backup", "--json")
        assert outcome.code == 0
        assert f'"skipped":{skipped}' in outcome.out.splitlines()[-1]
    assert sorted(path.name for path in (pipeline.directory / "backup").iterdir() if path.name[0] != ".") == [
        "a.txt",
        "app.db",
    ]
    copy = sqlite3.connect(pipeline.directory / "backup" / "app.db")
    assert copy.execute("SELECT count(*) FROM people").fetchall() == [(100,)]
    copy.close()


def test_no_file_is_written_over_the_database_of_the_destination(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    (pipeline.directory / "in").mkdir()
    (pipeline.directory / "in" / "copy.db").write_bytes(b"content")
    (pipeline.directory / "out").mkdir()
    outcome = pipeline("move", "app.db", "out/copy.db", "--files", "in", "out")
    assert outcome.code == 2
    assert "copy.db would be written to" in outcome.err
    assert not (pipeline.directory / "out" / "copy.db").exists()


def test_only_and_exclude_choose_streams(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    change(source, "CREATE TABLE logs (id INTEGER PRIMARY KEY)")
    change(source, "CREATE TABLE pets (id INTEGER PRIMARY KEY)")
    change(source, "INSERT INTO pets VALUES (1)")
    assert pipeline("move", "app.db", "copy.db", "--only", "p*", "--exclude", "pets").code == 0
    connection = sqlite3.connect(pipeline.directory / "copy.db")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    connection.close()
    assert "people" in tables
    assert not {"logs", "pets"} & tables


def test_a_refused_record_is_named_and_the_exit_code_is_1(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    connection = sqlite3.connect(pipeline.directory / "copy.db")
    connection.execute(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (name <> 'Person 7'), age INTEGER)"
    )
    connection.close()
    outcome = pipeline("move", "app.db", "copy.db")
    assert outcome.code == 1
    assert "1/people/full/0, line 8, key [7]" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("INCOMPLETE: ")
    assert len(contents(pipeline.directory / "copy.db")) == 99


def test_a_missing_source_is_the_users_mistake(pipeline: CommandLine) -> None:
    outcome = pipeline("move", "nowhere.db", "copy.db")
    assert outcome.code == 2
    assert "nowhere.db" in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("copy.db").exists()
    assert pipeline("status").out.count("nowhere") == 0


def test_a_corrupt_source_is_named(pipeline: CommandLine) -> None:
    Path("app.db").write_bytes(b"SQLite format 3\0" + os.urandom(8_000))
    outcome = pipeline("move", "app.db", "copy.db")
    assert outcome.code in (1, 2)
    assert "app.db" in outcome.err
    assert "Traceback" not in outcome.err


def test_with_json_standard_output_holds_json_alone(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", rows=20_000)
    (tmp_path / "settings.toml").write_text('progress_seconds = 0.1\nlog_level = "debug"\n')
    outcome = run_process("move", "app.db", "copy.db", "--json", "--config", "settings.toml", cwd=tmp_path)
    assert outcome.returncode == 0
    assert all(line.startswith("{") and line.endswith("}") for line in outcome.stdout.splitlines())
    assert "movement_settled" in outcome.stderr


def test_a_flow_whose_store_was_lost_moves_everything_anew(pipeline: CommandLine) -> None:
    """The destination's marks are of Event Files that another store held, under the ids that the new ones have."""
    source = make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    change(source, "UPDATE people SET name = 'New' WHERE id = 7")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--home", "another", "--json")
    assert outcome.objects[-1]["event_files"] == {"exported": 1, "imported": 1, "skipped": 0, "failed": 0}
    assert contents(pipeline.directory / "copy.db") == contents(source)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm", "--home", "another").code == 0
    assert contents(pipeline.directory / "copy.db") == contents(source)


@pytest.mark.parametrize("command", [("move",), ("flow", "create", "crm")])
@pytest.mark.parametrize("level", ["best", ""])
def test_a_delivery_level_that_is_not_known_is_refused_before_anything_is_moved(
    command: tuple[str, ...], level: str, pipeline: CommandLine
) -> None:
    make_database(pipeline.directory / "app.db")
    refused = pipeline(*command, "app.db", "copy.db", "--requires", level)
    known = "transaction, staged, keyed, found, at-least-once"
    assert f"The delivery level {level!r} is not known. It must be one of: {known}." in " ".join(refused.err.split())
    assert (refused.code, (pipeline.directory / "copy.db").exists()) == (2, False)
    assert pipeline(*command, "app.db", "copy.db", "--requires", "transaction").code == 0
