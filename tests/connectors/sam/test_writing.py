"""What a destination writes: files and listing as the public platform has them, and the same rows on the way back."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, Label, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import Loaded
from tests.cli.app import CommandLine, change, make_database, run_process
from tests.connectors.postgres.places import place_factory
from tests.connectors.sam.exports import destination_of, read, source_of, write_file
from tests.contracts.destination import file_to_load
from tests.servers.postgresql import PostgresqlServer

FLOW = FlowName("crm 2026-11-01T00:00:00+00:00")


def entries(place: Path) -> list[dict[str, Any]]:
    """Return the entries of the one listing of a place."""
    (listing,) = (place / "listing").iterdir()
    return [orjson.loads(line) for line in listing.read_bytes().splitlines()]


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of all tables of an app's database, in the order of all their values."""
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_pipeline%' ESCAPE '\\'"
        tables = [str(name) for (name,) in db.execute(query).fetchall()]
        return {table: sorted(db.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr) for table in tables}


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_an_export_looks_like_that_of_the_public_platform(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "sam:out").code == 0
    change(pipeline.directory / "app.db", "UPDATE people SET name = 'New' WHERE id = 7")
    change(pipeline.directory / "app.db", "DELETE FROM people WHERE id = 8")
    assert pipeline("move", "app.db", "sam:out").code == 0
    out = pipeline.directory / "out"
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "listing",
        "people_full_0.ndjson",
        "people_incremental_0.ndjson",
    ]
    head, first, *_ = lines_in(out / "people_full_0.ndjson")
    assert {name: head[name] for name in ("table", "primaryKeys", "rowCount", "metadata")} == {
        "table": "people",
        "primaryKeys": ["id"],
        "rowCount": 100,
        "metadata": True,
    }
    assert head["columns"][0] == {"name": "id", "type": "integer", "size": -1, "nullable": False}
    assert [column["name"] for column in head["columns"][-2:]] == ["DELETED", "TXN_SEQUENCE"]
    assert head["exportTime"].endswith("Z")
    assert first["id"] == 1
    assert (first["DELETED"], first["TXN_SEQUENCE"]) == (False, 1)
    _, *changed = lines_in(out / "people_incremental_0.ndjson")
    assert changed[0]["name"] == "New"
    assert changed == [
        {**changed[0], "id": 7, "DELETED": False, "TXN_SEQUENCE": 101},
        {"id": 8, "DELETED": True, "TXN_SEQUENCE": 102},
    ]
    listed = entries(out)
    assert [(one["fullName"], one["label"], one["rowCount"]) for one in listed] == [
        ("people_full_0.ndjson", "DATABASE", 100),
        ("people_incremental_0.ndjson", "DATABASE", 2),
    ]
    assert all(one["fileId"].startswith("event_file/") for one in listed)


def test_the_way_there_and_back_changes_nothing_and_verify_agrees(pipeline: CommandLine) -> None:
    source = pipeline.directory / "app.db"
    with sqlite3.connect(source) as db:
        db.executescript(
            "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL COLLATE NOCASE);"
            "CREATE TABLE odd (a TEXT, b BLOB, c, d REAL, e DECIMAL(9,2), PRIMARY KEY (a, c)) WITHOUT ROWID;"
            "CREATE TABLE keyless (x, y REFERENCES author(id));"
            "CREATE INDEX by_name ON author(name); CREATE VIEW names AS SELECT name FROM author;"
        )
        db.executemany("INSERT INTO author VALUES (?, ?)", [(n, f"author {n} ☃ \0") for n in (1, -5, 2**63 - 1)])
        values = [("", b"\0\xff", 1, 1e300, 1.5), ("ü", None, "1", -0.0, 10**17), ("ü", b"", b"1", float("inf"), None)]
        db.executemany("INSERT INTO odd VALUES (?, ?, ?, ?, ?)", values)
        db.executemany("INSERT INTO keyless VALUES (?, ?)", [(1, 1), (1, 1), (None, 1), (b"x", None)])
    db.close()
    for _ in range(2):
        for ends in (("app.db", "sam:out", "--flow", "there"), ("sam:out", "back.db", "--flow", "back")):
            outcome = pipeline("move", *ends, "--json")
            assert outcome.code == 0, outcome.out + outcome.err
            verified = pipeline("verify", ends[3])
            assert verified.code == 0, verified.out
        assert contents(pipeline.directory / "back.db") == contents(source)
        change(source, "DELETE FROM author WHERE id = -5")
        change(source, "UPDATE odd SET d = 2 WHERE a = ''")
        change(source, "DELETE FROM keyless WHERE x = 1 AND rowid = 1")
        change(source, "INSERT INTO keyless VALUES ('new', 1)")
    with sqlite3.connect(pipeline.directory / "back.db") as db:
        kinds = dict(db.execute("SELECT name, type FROM sqlite_schema WHERE name IN ('by_name', 'names')").fetchall())
    db.close()
    assert kinds == {"by_name": "index", "names": "view"}


def test_postgresql_and_back(pipeline: CommandLine, postgresql: PostgresqlServer) -> None:
    places = place_factory(postgresql)
    source, back = places(), places()
    source.run(
        "CREATE TABLE everything (id numeric(30,5) PRIMARY KEY, n numeric, t timestamptz, d date, j jsonb, b bytea, a int[], "
        "f double precision, u uuid, i interval, flag boolean, s text, big bigint)",
        "INSERT INTO everything VALUES (12345678901234567890.10000, 'NaN', '2026-08-18 00:16:51.915527+02', '2026-01-02', "
        """'{"a": [1.10, "x"]}', '\\x00ff', '{1,NULL}', 'Infinity', 'c0ffee00-0000-4000-8000-000000000000', '1 day 2 s', """
        "true, E'a\\nb', 9223372036854775807), (7, 12.50, NULL, NULL, NULL, NULL, NULL, 1e-300, NULL, NULL, NULL, '', -1), "
        "(10, -0.00, NULL, NULL, NULL, NULL, NULL, 0.1, NULL, NULL, NULL, NULL, NULL)",
        "CREATE TABLE keyless (a int, b text)",
        "INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
    )
    for _ in range(2):
        for ends in ((source.uri, "sam:out", "--flow", "there"), ("sam:out", back.uri, "--flow", "back")):
            outcome = pipeline("move", *ends)
            assert outcome.code == 0, outcome.out + outcome.err
            verified = pipeline("verify", ends[3])
            assert verified.code == 0, verified.out
        for table in ("everything", "keyless"):
            query = f"SELECT t::text FROM {table} t ORDER BY 1"
            assert back.rows(query) == source.rows(query)
        source.run("DELETE FROM everything WHERE id = 7", "DELETE FROM keyless WHERE a IS NULL")
    _, *rows = (pipeline.directory / "out" / "everything_full_0.ndjson").read_bytes().splitlines()
    assert b'"n":12.50' in b"".join(rows)
    assert b'"id":12345678901234567890.10000' in b"".join(rows)


def test_contents_go_through_an_export_into_a_database(pipeline: CommandLine) -> None:
    columns = {"fileId": "varchar", "path": "varchar"}
    write_file(
        pipeline.directory / "in",
        "files_full_0.ndjson",
        [{"fileId": "b/1", "path": "a.txt"}],
        columns,
        primaryKeys=["path"],
    )
    (pipeline.directory / "in" / "b").mkdir()
    (pipeline.directory / "in" / "b" / "1").write_bytes(b"the content")
    for ends in (("sam:in", "sam:out"), ("sam:out", "copy.db"), ("sam:in", "direct.db")):
        outcome = pipeline("move", *ends)
        assert outcome.code == 0, outcome.out + outcome.err
    assert contents(pipeline.directory / "copy.db") == {"files": [("b/1", "a.txt", b"the content")]}
    assert contents(pipeline.directory / "direct.db") == contents(pipeline.directory / "copy.db")


def test_large_objects_are_files_of_the_export(pipeline: CommandLine, postgresql: PostgresqlServer) -> None:
    places = place_factory(postgresql)
    source, back = places(), places()
    source.run("CREATE TABLE doc (id int PRIMARY KEY, body oid)", "INSERT INTO doc VALUES (1, 4711)")
    source.run("SELECT lo_from_bytea(4711, 'the content')")
    assert pipeline("move", source.uri, "sam:out", "--flow", "there").code == 0
    assert pipeline("verify", "there").code == 0
    outcome = pipeline("move", "sam:out", back.uri, "--flow", "back")
    assert outcome.code == 0, outcome.out + outcome.err
    assert back.rows("SELECT lo_get(body) FROM doc") == [(b"the content",)]
    (content,) = (pipeline.directory / "out" / "binary_file").iterdir()
    assert content.read_bytes() == b"the content"
    source.run("SELECT lo_put(4711, 0, 'THE')")
    assert pipeline("move", source.uri, "sam:out", "--flow", "there").code == 0
    changed = next(path for path in content.parent.iterdir() if path != content)
    for damage, reason in ((changed.read_bytes()[1:], "another content"), (None, "is missing")):
        changed.unlink()
        if damage is not None:
            changed.write_bytes(damage)
        outcome = pipeline("move", "sam:out", back.uri, "--flow", "back")
        assert outcome.code == 1
        assert reason in outcome.out + outcome.err
        assert back.rows("SELECT lo_get(body) FROM doc") == [(b"the content",)]


def test_an_id_that_is_none_rejects_its_row(pipeline: CommandLine) -> None:
    columns = {"fileId": "varchar", "path": "varchar"}
    rows = [{"fileId": "b/1", "path": "a.txt"}]
    write_file(pipeline.directory / "in", "files_full_0.ndjson", rows, columns, primaryKeys=["path"])
    (pipeline.directory / "in" / "b").mkdir()
    (pipeline.directory / "in" / "b" / "1").write_bytes(b"the content")
    assert pipeline("move", "sam:in", "sam:out").code == 0
    written = pipeline.directory / "out" / "files_full_0.ndjson"
    head, line = written.read_bytes().splitlines()
    (pipeline.directory / "damaged").mkdir()
    damaged = orjson.dumps({**orjson.loads(line), "content": "zz"})
    (pipeline.directory / "damaged" / written.name).write_bytes(head + b"\n" + damaged + b"\n")
    outcome = pipeline("move", "sam:damaged", "copy.db")
    assert outcome.code == 1
    assert "'zz' is not the id of a Binary File" in outcome.out


def test_a_listing_that_was_written_anew_is_one_message(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "sam:out").code == 0
    (listing,) = (pipeline.directory / "out" / "listing").iterdir()
    listing.write_bytes(orjson.dumps(entries(pipeline.directory / "out")))
    outcome = pipeline("move", "app.db", "sam:out")
    assert outcome.code != 0
    assert f"The listing listing/{listing.name} is damaged" in outcome.err
    assert "defect" not in outcome.err


async def load(place: Path, table: str, phase: Phase, movement: int, chunk: int, *lines: bytes) -> None:
    schema = StreamSchema(StreamName(table), Label(table), (Column("id", "integer", False),), ("id",))
    async with destination_of(place).open(FLOW) as session:
        file = file_to_load(schema, lines, chunk=chunk, movement=movement, phase=phase)
        assert isinstance(await session.load(file, after=[]), Loaded)


async def test_what_comes_after_the_snapshot_is_incremental_whatever_its_phase(tmp_path: Path) -> None:
    upsert = b'{"upsert":{"id":1}}\n'
    for movement, phase, chunk in (
        (1, Phase.FULL, 0),
        (1, Phase.FULL, 1),
        (1, Phase.INCREMENTAL, 0),
        (1, Phase.FULL, 2),
        (2, Phase.FULL, 0),
    ):
        await load(tmp_path, "a_b", phase, movement, chunk, upsert)
    names = [one["fullName"] for one in entries(tmp_path)]
    assert names == [
        "a_b_full_0.ndjson",
        "a_b_full_1.ndjson",
        "a_b_incremental_0.ndjson",
        "a_b_incremental_1.ndjson",
        "a_b_incremental_2.ndjson",
    ]
    numbers = [row["TXN_SEQUENCE"] for name in names for row in lines_in(tmp_path / name)[1:]]
    assert numbers == [1, 2, 3, 4, 5]


async def test_odd_names_of_tables_are_those_of_files_below_the_place(tmp_path: Path) -> None:
    for table in ("", "jira/classic:project", "a_full_0", "ä b", "%2e"):
        await load(tmp_path, table, Phase.FULL, 1, 0, b'{"upsert":{"id":1}}\n')
    found = await read(source_of(tmp_path))
    assert sorted(found) == ["", "%2e", "a_full_0", "jira/classic:project", "ä b"]


@pytest.mark.parametrize("table", ["..", "../x", "/x", "a/../../x", ".hidden", "x" * 300, "a//b", "a/./b", "nul\0"])
async def test_a_table_whose_name_is_no_safe_path_is_stored_under_its_id(tmp_path: Path, table: str) -> None:
    place = tmp_path / "place"
    await load(place, table, Phase.FULL, 1, 0, b'{"upsert":{"id":1}}\n')
    assert names_in(tmp_path, "*") == ["place"]
    (entry,) = entries(place)
    assert (place / entry["fileId"]).exists()
    assert [row["id"] for row in (await read(source_of(place)))[table].rows] == [1]


def names_in(place: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in place.glob(pattern))


async def test_what_a_killed_process_left_is_replaced_and_not_read(tmp_path: Path) -> None:
    await load(tmp_path, "t", Phase.FULL, 1, 0, b'{"upsert":{"id":1}}\n')
    data = (tmp_path / "t_full_0.ndjson").read_bytes()
    (tmp_path / "t_full_1.ndjson").write_bytes(data.replace(b'"id":1,', b'"id":6,'))
    (tmp_path / ".pipeline-tmp-1").write_bytes(b"half")
    await load(tmp_path, "t", Phase.FULL, 1, 1, b'{"upsert":{"id":2}}\n')
    assert [row["id"] for row in (await read(source_of(tmp_path)))["t"].rows] == [1, 2]
    assert not names_in(tmp_path, ".pipeline-tmp-*")
    assert names_in(tmp_path, "t_*") == ["t_full_0.ndjson", "t_full_1.ndjson"]


async def test_files_of_another_program_are_neither_replaced_nor_hidden(tmp_path: Path) -> None:
    path = write_file(tmp_path, "t_full_0.ndjson", [{"ID": 1}])
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"holds t_full_0\.ndjson, and no listing"):
        await load(tmp_path, "t", Phase.FULL, 1, 0, b'{"upsert":{"id":2}}\n')
    (tmp_path / "listing").mkdir()
    (tmp_path / "listing" / "x-metadata.json").write_bytes(b"")
    await load(tmp_path, "t", Phase.FULL, 1, 0, b'{"upsert":{"id":2}}\n')
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", ["deleted", "sequence"])
def test_a_column_with_the_name_of_a_mark_needs_another_name_for_it(pipeline: CommandLine, option: str) -> None:
    column = {"deleted": "DELETED", "sequence": "TXN_SEQUENCE"}[option]
    with sqlite3.connect(pipeline.directory / "app.db") as db:
        db.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {column} TEXT)")
        db.execute("INSERT INTO t VALUES (1, 'mine')")
    db.close()
    outcome = pipeline("move", "app.db", "sam:out")
    assert outcome.code != 0
    assert f"its column {column} has the name of the column that marks" in outcome.out + outcome.err
    place = f"sam:out?{option}=_mark"
    assert pipeline("move", "app.db", place).code == 0
    assert pipeline("move", place, "back.db").code == 0
    assert contents(pipeline.directory / "back.db") == contents(pipeline.directory / "app.db")


def test_options_are_settings_as_well_and_wrong_ones_are_named_together(pipeline: CommandLine) -> None:
    write_file(pipeline.directory / "in", "t_full_0.ndjson", [{"ID": 1, "NAME": "b"}, {"ID": 1, "NAME": "a"}])
    assert pipeline("move", "sam:in", "copy.db", "--source-set", "key.t=NAME").code == 0
    assert len(contents(pipeline.directory / "copy.db")["t"]) == 2
    outcome = pipeline("move", "sam:in?order=later&what=1", "copy.db")
    assert outcome.code == 2
    assert (
        "order=later is not one of sequence, listing; there is no option 'what'. The options are: binary,"
        in outcome.err
    )
    assert pipeline("move", "sam:", "copy.db").code == 2


async def test_another_key_of_a_table_that_this_software_wrote_is_one_message(tmp_path: Path) -> None:
    await load(tmp_path, "t", Phase.FULL, 1, 0, b'{"upsert":{"id":1}}\n')
    for key, fault in (
        ("id", ""),
        ("name", "with the key id, and its deletes have no other column; leave out the option"),
    ):
        error = (await read(source_of(tmp_path, key_t=key)))["t"].error
        assert fault in error
        assert bool(fault) is bool(error)


def test_a_deleted_row_with_a_decimal_key_is_deleted(pipeline: CommandLine) -> None:
    rows = [
        b'{"ID":18446744073709551616}',
        b'{"ID":2.50}',
        b'{"ID":1e21}',
        b'{"ID":0.30000000000000004}',
        b'{"ID":1.0}',
    ]
    for kept in (rows, rows[:1]):
        write_file(pipeline.directory / "in", "t_full_0.ndjson", kept, {"ID": "number"})
        assert pipeline("move", "sam:in", "copy.db", "--flow", "f").code == 0
        verified = pipeline("verify", "f")
        assert verified.code == 0, verified.out
        assert len(contents(pipeline.directory / "copy.db")["t"]) == len(kept)


def test_a_table_that_cannot_be_read_stops_no_other_and_loses_no_row(pipeline: CommandLine) -> None:
    place = pipeline.directory / "in"
    for table in ("t", "u"):
        write_file(place, f"{table}_full_0.ndjson", [{"ID": n, "NAME": "x"} for n in range(3)])
    assert pipeline("move", "sam:in", "copy.db").code == 0
    damaged = place / "t_full_0.ndjson"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    write_file(place, "u_incremental_0.ndjson", [{"ID": 9, "NAME": "y"}, {"ID": 0, "DELETED": True}])
    outcome = pipeline("move", "sam:in", "copy.db")
    assert outcome.code == 1
    assert "t_full_0.ndjson" in outcome.out + outcome.err
    found = contents(pipeline.directory / "copy.db")
    assert (len(found["t"]), len(found["u"])) == (3, 3)


@pytest.mark.slow
def test_a_killed_move_carries_on_and_every_row_is_there_once(pipeline: CommandLine) -> None:
    """Killed at twelve moments of the load; the listing then names each Event File once."""
    source = pipeline.directory / "app.db"
    with sqlite3.connect(source) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(n, "x" * 50) for n in range(20_000)])
    db.close()
    command = [sys.executable, "-m", "pipeline", "move", "app.db", "sam:out"]
    environment = {**os.environ, "PIPELINE_EVENT_FILE_ROWS": "300", "PIPELINE_QUEUE_VISIBILITY_SECONDS": "1"}
    dice = random.Random(7)
    for _ in range(12):
        running = subprocess.Popen(
            command, cwd=pipeline.directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.4 + dice.random())
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = run_process("move", "app.db", "sam:out", cwd=pipeline.directory)
    assert done.returncode == 0, done.stderr
    files = [one["pipeline"]["file"] for one in entries(pipeline.directory / "out")]
    assert len(files) == len(set(files))
    assert run_process("move", "sam:out", "back.db", cwd=pipeline.directory).returncode == 0
    assert contents(pipeline.directory / "back.db") == contents(source)
