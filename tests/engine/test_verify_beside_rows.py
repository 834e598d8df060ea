"""Verifying looks at all that a database or tree has, not at rows alone, and agrees with what the Movement says."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.comparison.report import StreamReport, Verification
from pipeline.domain.inventory import Fate
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite.databases import run
from tests.engine.real_flow import Places, RealFlow, one


def between(source: Place | Path, copy: Place | Path) -> RealFlow:
    """A Flow between databases, of which a comparison reads the generated columns, too."""

    def read(place: Place | Path, *, generated: bool = True) -> SqliteSource | PostgresSource:
        if isinstance(place, Path):
            return SqliteSource(place, generated=generated)
        return PostgresSource(place.uri, generated=generated)

    written = SqliteDestination(copy) if isinstance(copy, Path) else PostgresDestination(copy.uri)
    return RealFlow(Places(read(source, generated=False), written, read(source), read(copy)))


def keys(report: StreamReport) -> list[tuple[object, ...]]:
    return [(*difference.key, difference.finding.value) for difference in report.examples]


async def test_generated_columns_are_compared_as_a_reader_sees_them(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, x int, y int GENERATED ALWAYS AS (x * 2) STORED)",
        "INSERT INTO t VALUES (1, 2)",
    )
    flow = between(source, copy)
    await flow.move()
    found = await flow.verify()
    assert found.equal
    assert "generated columns" in found.covers
    copy.run("ALTER TABLE t DROP y, ADD y int DEFAULT 5")
    report = one(await flow.verify())
    assert [(difference.key, difference.columns) for difference in report.examples] == [((1,), ("y",))]
    assert report.definitions == ("generated column y: (x * 2)",)


async def test_generated_columns_of_sqlite_are_compared(tmp_path: Path) -> None:
    source, copy = tmp_path / "app.db", tmp_path / "copy.db"
    run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, x, y AS (x * 2))", "INSERT INTO t (id, x) VALUES (1, 2)")
    run(source, "CREATE TABLE u (id INTEGER PRIMARY KEY, y)", "INSERT INTO u (id) VALUES (1)")
    with closing(sqlite3.connect(source)) as connection:
        connection.create_function("own", 1, str, deterministic=True)
        connection.execute("ALTER TABLE u ADD z AS (own(id))")
    run(copy, "CREATE TABLE t (id INTEGER PRIMARY KEY, x, y AS (x * 3))")
    flow = between(source, copy)
    await flow.move()
    assert [difference.columns for difference in one(await flow.verify()).examples] == [("y",)]


async def test_what_a_table_lacks_is_named_and_an_index_is_created_again(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, x int DEFAULT 3 CONSTRAINT small CHECK (x < 9), u int REFERENCES u)",
        "CREATE INDEX t_x ON t (x)",
    )
    flow = between(source, copy)
    await flow.move()
    assert (await flow.verify()).equal
    copy.run("DROP INDEX t_x", "ALTER TABLE t DROP CONSTRAINT small, DROP CONSTRAINT t_u_fkey")
    assert one(await flow.verify()).definitions == ("constraint small", "constraint t_u_fkey", "index t_x")
    assert await flow.repaired() == (0, 0)
    copy.run("DROP INDEX t_x", "CREATE INDEX under_another_name ON t (x)")
    assert (await flow.verify()).equal
    copy.run("ALTER TABLE t ALTER x DROP DEFAULT")
    assert one(await flow.verify()).definitions == ("default of x",)


async def test_an_index_that_sqlite_lacks_is_named(tmp_path: Path) -> None:
    source, copy = tmp_path / "app.db", tmp_path / "copy.db"
    run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)", "CREATE INDEX t_x ON t (x)")
    run(source, "INSERT INTO t (x) VALUES (1), (2)")
    flow = between(source, copy)
    await flow.move()
    assert (await flow.verify()).equal
    run(copy, "DROP INDEX t_x", "UPDATE sqlite_sequence SET seq = 1")
    assert one(await flow.verify()).definitions == ("index t_x", "AUTOINCREMENT number 2")
    assert await flow.repaired() == (0, 0)
    run(copy, "DROP INDEX t_x")
    await flow.accept("index")
    assert (await flow.verify()).equal


async def test_schema_objects_and_the_next_numbers_of_sequences_are_compared(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (id serial PRIMARY KEY, x int)",
        "CREATE VIEW v AS SELECT id FROM t",
        "CREATE SEQUENCE free",
        "SELECT nextval('free')",
    )
    flow = between(source, copy)
    await flow.move()
    found = await flow.verify()
    assert found.equal, found.differing
    assert "the next numbers of sequences" in found.covers
    copy.run(
        "DROP VIEW v", "CREATE VIEW v AS SELECT x AS id FROM t", "CREATE VIEW own AS SELECT 1", "SELECT nextval('free')"
    )
    found = await flow.verify()
    report = one(found)
    assert keys(report) == [("sequence", "public.free", "different"), ("view", "public.v", "different")]
    assert report.examples[0].columns == ("next number (2 at the source, 3 at the destination)",)
    assert found.only_at_destination == ("view public.own",)
    copy.run("DROP VIEW v", "SELECT setval('free', 2, false)")  # the same next number as after setval(1)
    assert keys(one(await flow.verify())) == [("view", "public.v", "missing")]
    await flow.repaired()


async def test_a_copy_without_any_schema_object_is_not_equal(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT id FROM t")
    flow = between(source, copy)
    await flow.move()
    copy.run("DROP VIEW v")
    assert one(await flow.verify()).absent


async def test_the_sequence_of_a_column_may_have_another_name(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id serial PRIMARY KEY)", "ALTER SEQUENCE t_id_seq RENAME TO people")
    source.run("INSERT INTO t DEFAULT VALUES")
    copy.run("CREATE TABLE t (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)")
    flow = between(source, copy)
    await flow.move()
    assert keys_of_sequences(await flow.verify()) == []
    copy.run("ALTER TABLE t ALTER id RESTART WITH 1")
    assert keys_of_sequences(await flow.verify()) == [("sequence", "public.people", "different")]


def keys_of_sequences(found: Verification) -> list[tuple[object, ...]]:
    return [key for report in found.differing for key in keys(report) if key[0] == "sequence"]


async def test_what_the_movement_names_as_missing_is_no_news_and_can_be_accepted(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT id FROM t")
    copy.run("CREATE VIEW v AS SELECT 1 AS own")
    flow = between(source, copy)
    assert (await flow.move()).status == "INCOMPLETE"
    (difference,) = one(await flow.verify()).examples
    assert difference.rejected == "the destination has another one of this name, which is left as it is"
    await flow.accept("view")
    assert (await flow.move()).status == "SUCCESS"
    found = await flow.verify()
    assert found.equal
    assert [(item.kind, item.name) for item in found.accepted] == [("view", "public.v")]


async def test_objects_of_another_technology_are_missing_until_that_is_accepted(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source = make()
    source.run("CREATE TABLE t (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT id FROM t")
    flow = between(source, tmp_path / "copy.db")
    await flow.move()
    found = await flow.verify()
    assert not found.equal
    assert [(item.kind, item.name) for item in found.gaps] == [("view", "public.v")]
    assert found.left_out == ("@schema",)
    await flow.accept("view")
    assert (await flow.verify()).equal


async def test_names_that_differ_in_case_alone_are_never_equal(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run('CREATE TABLE "Users" (id int PRIMARY KEY, "userName" text)')
    flow = between(source, copy)
    await flow.move()
    assert (await flow.verify()).equal
    copy.run("CREATE TABLE users (id int)", 'ALTER TABLE "Users" ADD username text')
    assert one(await flow.verify()).case_twins == ("users", "username")


async def test_a_column_that_the_destination_lacks_is_never_equal(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, NULL)")
    flow = between(source, copy)
    await flow.move()
    copy.run("ALTER TABLE t DROP note")
    report = one(await flow.verify())
    assert (report.differences, report.missing_columns) == (0, ("note",))


async def test_what_no_row_gives_is_missing(tmp_path: Path) -> None:
    tree, copy = tmp_path / "in", tmp_path / "out"
    tree.mkdir()
    (tree / "a").write_bytes(b"content")
    flow = RealFlow(
        Places(
            FilesSource(tree),
            FilesDestination(copy),
            FilesSource(tree, checksum=True),
            FilesSource(copy, checksum=True),
        )
    )
    await flow.move()
    assert (await flow.verify()).equal
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "s"))
        found = await flow.verify()
    assert not found.equal
    (gap,) = found.gaps
    assert (gap.kind, gap.name, gap.fate) == ("socket", "s", Fate.NOT_MOVED)
