"""A source that was emptied by mistake does not empty the destination."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.app import CommandLine, change, contents, make_database


def test_an_emptied_database_is_held_until_the_deletes_are_allowed(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    copy = contents(source)
    move = ("move", "app.db", "copy.db", "--flow", "crm")
    assert pipeline(*move).code == 0
    source.unlink()
    with closing(sqlite3.connect(source)) as db:
        db.execute("VACUUM")
    held = pipeline(*move)
    assert held.code == 1
    assert (
        "people: 100 of 100 records of the destination are not at the source, and none of them was deleted" in held.out
    )
    assert "--allow-deletes people" in held.out
    assert contents(pipeline.directory / "copy.db") == copy
    assert "--allow-deletes people" in pipeline("status").out
    last = pipeline(*move, "--json").objects[-1]
    assert last["held_deletes"] == {"people": {"deletes": 100, "rows": 100}}
    assert pipeline(*move, "--allow-deletes", "*").code == 0
    with closing(sqlite3.connect(pipeline.directory / "copy.db")) as db:
        assert db.execute("SELECT count(*) FROM people").fetchone() == (0,)


def test_deletes_stay_held_while_a_movement_looks_at_other_streams_alone(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db", rows=200)
    change(source, "CREATE TABLE pets (id INTEGER PRIMARY KEY)")
    move = ("move", "app.db", "copy.db", "--flow", "crm")
    assert pipeline(*move).code == 0
    change(source, "DELETE FROM people")
    change(source, "INSERT INTO pets VALUES (1)")
    assert pipeline(*move).code == 1
    others = pipeline(*move, "--only", "pets")
    assert (others.code, "people: 200 of 200 records" in others.out) == (1, True)
    assert pipeline(*move, "--exclude", "people").code == 0  # to keep them is a decision
    assert pipeline(*move, "--allow-deletes", "people").code == 0
    assert contents(pipeline.directory / "copy.db") == []


def test_a_repair_and_a_setting_allow_deletes(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    add = "INSERT INTO people (name) SELECT 'extra' FROM people, people AS other LIMIT 200"
    change(pipeline.directory / "copy.db", add)
    assert "--allow-deletes people" in pipeline("verify", "crm", "--repair").out
    assert pipeline("verify", "crm", "--repair", "--allow-deletes", "people").code == 0
    change(pipeline.directory / "app.db", "DELETE FROM people WHERE id > 5")
    settings = pipeline.directory / "settings.toml"
    settings.write_text("delete_guard_rows = 10")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm", "--config", str(settings)).code == 1
    settings.write_text('delete_guard_rows = 10\nallow_deletes = "orders p*"')
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm", "--config", str(settings)).code == 0


def test_a_directory_that_is_not_mounted_is_held(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    files, copies = pipeline.directory / "files", pipeline.directory / "copies"
    _fill(files)
    move = ("move", "app.db", "copy.db", "--files", "files", "copies")
    assert pipeline(*move).code == 0
    files.rename(pipeline.directory / "unmounted")
    files.mkdir()
    held = pipeline(*move)
    assert held.code == 1
    assert "--allow-deletes @files" in held.out
    assert sorted(path.name for path in copies.iterdir() if path.suffix) == ["0.txt", "1.txt"]
    assert pipeline(*move, "--allow-deletes", "@files").code == 0
    assert [path for path in copies.iterdir() if path.suffix] == []


def _fill(directory: Path) -> None:
    directory.mkdir()
    for number in range(2):
        (directory / f"{number}.txt").write_text("text")
