"""Workers and derived Flows overwrite no record that a destination had before its first load, unless they are asked to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from pipeline.assembly.commands.workers import run_worker, wait_settled
from pipeline.domain.movement import Movement
from pipeline.settings import load_settings
from tests.cli.app import CommandLine, change, contents, make_database
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer


def work(flow: str, number: int) -> Movement:
    """Run a worker until a Movement has settled; return it. Its groups are divided, and announced as they grow."""
    settings = replace(load_settings(), shard_files=1, event_file_rows=10, progress_seconds=0.1)

    async def run() -> Movement:
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: run_worker(stop=stop, settings=settings))
            with anyio.fail_after(30):
                settled = await wait_settled(flow, number, settings=settings)
            stop.set()
        return settled

    return anyio.run(run)


def names(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, name FROM people").fetchall())


def test_workers_refuse_a_stream_whose_rows_would_be_overwritten_until_they_are_asked(pipeline: CommandLine) -> None:
    here, copy = make_database(pipeline.directory / "app.db"), make_database(pipeline.directory / "copy.db", rows=3)
    change(copy, "UPDATE people SET name = 'Mine' WHERE id = 2")
    change(copy, "INSERT INTO people VALUES (95, 'Theirs', 1), (900, 'Own', 1)")
    change(here, "CREATE TABLE pets (id INTEGER PRIMARY KEY)")
    change(here, "INSERT INTO pets VALUES (1)")
    before = contents(copy)
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    pipeline("start", "crm")
    refused = work("crm", 1)
    assert refused.status == "INCOMPLETE"
    assert contents(copy) == before  # not even the files of the stream that overwrite nothing
    assert contents(copy, "pets") == [(1,)]
    status = pipeline("status", "--flow", "crm").out
    assert "people: 2 of 5 ([2], [95])" in status
    assert "`pipeline start crm --overwrite`" in status
    pipeline("start", "crm", "--overwrite")
    assert work("crm", 2).status == "SUCCESS"
    assert names(copy) == names(here) | {900: "Own"}


def test_equal_rows_and_rows_of_its_own_are_no_obstacle_to_workers(
    pipeline: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    here, copy = make_database(pipeline.directory / "app.db"), make_database(pipeline.directory / "copy.db", rows=3)
    change(copy, "INSERT INTO people VALUES (900, 'Own', 1)")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    pipeline("start", "crm")
    assert work("crm", 1).status == "SUCCESS"
    log = capsys.readouterr().err
    assert "existing_rows_found" in log
    assert "rows=4" in log
    assert "not_at_source=1" in log
    assert names(copy) == names(here) | {900: "Own"}
    change(copy, "UPDATE people SET name = 'Mine' WHERE id = 2")
    change(here, "UPDATE people SET name = 'Newer' WHERE id = 2")
    pipeline("start", "crm")
    assert work("crm", 2).status == "SUCCESS"  # the stream was loaded before, so the row is the Flow's
    assert names(copy)[2] == "Newer"


def test_a_derived_flow_compares_what_its_origin_has_stored_in_the_end(pipeline: CommandLine) -> None:
    here = make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    change(here, "UPDATE people SET name = 'Newer' WHERE id = 2")
    change(here, "DELETE FROM people WHERE id = 3")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    second = make_database(pipeline.directory / "second.db", rows=2)
    change(second, "UPDATE people SET name = 'Newer' WHERE id = 2")
    pipeline("flow", "add-destination", "crm", "second.db", "--name", "second")
    change(second, "INSERT INTO people VALUES (3, 'Their own', 3)")
    refused = pipeline("flow", "import", "second")
    assert refused.code == 1
    assert "people: 1 of 3 ([3])" in refused.out
    assert "`pipeline flow import second --overwrite`" in refused.out
    assert names(second) == {1: "Person 1", 2: "Newer", 3: "Their own"}
    assert pipeline("flow", "import", "second", "--overwrite").code == 0
    assert contents(second) == contents(here)


def test_a_file_with_other_content_is_kept_from_a_derived_flow(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "files", pipeline.directory / "second"
    for directory, text in ((here, "new"), (there, "mine")):
        directory.mkdir()
        (directory / "same").write_text("same")
        (directory / "other").write_text(text)
    (there / "same").chmod(0o600)
    pipeline("move", "files", "copies", "--flow", "f")
    pipeline("flow", "add-destination", "f", "second", "--name", "second")
    refused = pipeline("flow", "import", "second")
    assert (refused.code, '@files: 1 of 2 (["other"])' in refused.out) == (1, True)
    assert (there / "other").read_text() == "mine"
    (there / "other").unlink()
    assert pipeline("flow", "import", "second").code == 0
    assert (there / "other").read_text() == "new"


@pytest.mark.server
def test_workers_compare_rows_of_another_technology_by_meaning(
    pipeline: CommandLine, postgresql: PostgresqlServer
) -> None:
    there = place_factory(postgresql)()
    here = pipeline.directory / "app.db"
    change(here, "CREATE TABLE t (id INTEGER PRIMARY KEY, done BOOLEAN, v TEXT)")
    change(here, "INSERT INTO t VALUES (1, 1, 'same'), (2, 0, 'source')")
    there.run("CREATE TABLE t (id bigint PRIMARY KEY, done boolean, v text)")
    there.run("INSERT INTO t VALUES (1, true, 'same'), (2, false, 'mine')")
    pipeline("flow", "create", "crm", "app.db", there.uri)
    pipeline("start", "crm")
    assert work("crm", 1).status != "SUCCESS"
    assert "t: 1 of 2 ([2])" in pipeline("status", "--flow", "crm").out
    assert there.rows("SELECT v FROM t WHERE id = 2") == [("mine",)]
    there.run("UPDATE t SET v = 'source' WHERE id = 2")
    pipeline("start", "crm")
    assert work("crm", 2).status == "SUCCESS"
