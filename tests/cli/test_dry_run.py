"""`pipeline move --dry-run` says what a Movement would do, and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.app import CommandLine, change, make_database
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer

MOVE = ("move", "app.db", "copy.db", "--flow", "crm")


def everything(directory: Path) -> dict[str, bytes | None]:
    """The contents of all files below a directory, and the directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")
    }


def forecast(pipeline: CommandLine, *arguments: str) -> dict[str, Any]:
    """Run the command, check that nothing was written, and return what it says."""
    before = everything(pipeline.directory)
    outcome = pipeline(*arguments, "--dry-run", "--json")
    assert everything(pipeline.directory) == before
    assert outcome.objects[-1]["dry_run"] is True
    return outcome.objects[-1] | {"code": outcome.code}


def stream(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in found["streams"] if one["stream"] == name)


@pytest.fixture(autouse=True)
def small_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command keeps what it needs meanwhile."""
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    return scratch


def test_a_first_movement_creates_and_exports_all(pipeline: CommandLine, small_scratch: Path) -> None:
    make_database(pipeline.directory / "app.db")
    found = forecast(pipeline, *MOVE)
    assert (found["code"], found["flow"], found["movement"], found["problems"]) == (0, "crm", 1, [])
    assert stream(found, "people") == {
        "stream": "people",
        "upserts": 100,
        "deletes": 0,
        "to_import": 100,
        "held_deletes": None,
        "creates": True,
        "new_columns": [],
        "existing": None,
    }
    assert list(small_scratch.iterdir()) == []
    text = pipeline(*MOVE, "--dry-run").out
    assert "  people      100        0        100  is created" in text
    assert text.splitlines()[-1] == "Dry run: nothing was written."


def test_the_forecast_is_what_the_movement_then_does(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline(*MOVE).code == 0
    for statement in (
        "ALTER TABLE people ADD COLUMN note TEXT",
        "DELETE FROM people WHERE id < 4",
        "CREATE TABLE pets (id INTEGER PRIMARY KEY)",
        "INSERT INTO pets VALUES (1), (2)",
    ):
        change(pipeline.directory / "app.db", statement)
    found = forecast(pipeline, *MOVE)
    people, pets = stream(found, "people"), stream(found, "pets")
    assert (people["upserts"], people["deletes"], people["new_columns"]) == (97, 3, ["note"])
    assert (pets["upserts"], pets["creates"]) == (2, True)
    records = pipeline(*MOVE, "--json").objects[-1]["records"]
    assert records == {"upserts": 99, "deletes": 3, "quarantined": 0}
    again = forecast(pipeline, *MOVE)
    assert [(one["upserts"], one["deletes"], one["to_import"]) for one in again["streams"]] == [(0, 0, 0)] * 2


def test_held_deletes_and_other_records_at_the_destination_are_problems(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db", rows=300)
    make_database(pipeline.directory / "copy.db", rows=2)
    change(pipeline.directory / "copy.db", "UPDATE people SET name = 'Mine' WHERE id = 1")
    change(pipeline.directory / "copy.db", "INSERT INTO people VALUES (900, 'Own', 1)")
    found = forecast(pipeline, *MOVE)
    assert (found["code"], stream(found, "people")["existing"]) == (1, {"rows": 3, "different": 1, "not_at_source": 1})
    assert pipeline(*MOVE, "--overwrite").code == 0
    change(pipeline.directory / "app.db", "DELETE FROM people WHERE id > 50")
    found = forecast(pipeline, *MOVE)
    assert (found["code"], stream(found, "people")["held_deletes"]) == (1, {"deletes": 250, "rows": 300})
    found = forecast(pipeline, *MOVE, "--allow-deletes", "people")
    assert (found["code"], stream(found, "people")["deletes"]) == (0, 250)


def test_files_are_counted_and_nothing_of_them_is_stored(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    (pipeline.directory / "files").mkdir()
    (pipeline.directory / "files" / "a.txt").write_text("text")
    move = (*MOVE, "--files", "files", "copies")
    found = forecast(pipeline, *move)
    assert (stream(found, "@files")["upserts"], stream(found, "@files")["creates"]) == (1, True)
    assert pipeline(*move).code == 0
    (pipeline.directory / "files" / "b.txt").write_text("more")
    assert stream(forecast(pipeline, *move), "@files")["upserts"] == 1


def test_a_dry_run_of_databases_of_a_server_writes_nothing(pipeline: CommandLine, postgresql: PostgresqlServer) -> None:
    make = place_factory(postgresql)
    here, there = make(), make()
    here.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "CREATE VIEW v AS SELECT 1 AS one")
    found = forecast(pipeline, "move", here.uri, there.uri)
    assert (stream(found, "t")["creates"], stream(found, "@schema")["upserts"] > 0) == (True, True)
    assert there.rows(
        "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', '_pipeline')"
    ) == [(0,)]


def test_overwrite_is_no_problem_of_a_dry_run_that_has_it(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    change(make_database(pipeline.directory / "copy.db"), "UPDATE people SET name = 'Mine' WHERE id = 2")
    move = ("move", "app.db", "copy.db", "--dry-run")
    assert "Needs --overwrite" in pipeline(*move).out
    allowed = pipeline(*move, "--overwrite")
    assert (allowed.code, "Needs --overwrite" in allowed.out) == (0, False)
