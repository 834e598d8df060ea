"""A violation is reported by every Movement until it is mended, and says if the source's own rows are the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.connectors.postgres.places import Place
from tests.connectors.sqlite.databases import run
from tests.engine.test_verify_beside_rows import between

SHOP = (
    "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE album (id INTEGER PRIMARY KEY, artist INTEGER REFERENCES artist (id))",
    "INSERT INTO artist VALUES (1, 'a')",
    "INSERT INTO album VALUES (1, 1), (2, 7)",
)
BROKEN = "1 row refers through artist to missing rows of "


@pytest.mark.parametrize("technology", ["sqlite", "postgresql"])
async def test_rows_without_a_parent_are_reported_until_the_parent_is_there(
    make: Callable[[], Place], tmp_path: Path, technology: str
) -> None:
    app = tmp_path / "app.db"
    copy = tmp_path / "copy.db" if technology == "sqlite" else make()
    run(app, *SHOP)
    flow = between(app, copy)
    for _ in range(2):
        movement = await flow.move()
        assert movement.status == "INCOMPLETE"
        (problem,) = movement.problems
        assert BROKEN in problem
        assert problem.endswith("; it is so at the source, too")
    run(app, "INSERT INTO artist VALUES (7, 'late')")
    assert (await flow.move()).status == "SUCCESS"
    again = await flow.move()
    assert (again.status, again.violated) == ("SUCCESS", ())


async def test_what_the_destination_alone_violates_is_reported_until_it_is_mended_there(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    app, copy = tmp_path / "app.db", make()
    run(app, *SHOP[:3], "INSERT INTO album VALUES (1, 1)")
    copy.run("CREATE TABLE album (id bigint PRIMARY KEY, artist bigint)", "INSERT INTO album VALUES (9, 9)")
    flow = between(app, copy)
    for _ in range(2):
        movement = await flow.move()
        (problem,) = movement.problems
        assert BROKEN in problem
        assert "at the source" not in problem
    copy.run("DELETE FROM album WHERE id = 9")
    assert (await flow.move()).status == "SUCCESS"
    assert copy.rows("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == [(1,)]


async def test_an_index_that_cannot_be_created_is_reported_until_it_is_there(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, x int)", "CREATE UNIQUE INDEX t_x ON t (x)", "INSERT INTO t VALUES (1, 1)"
    )
    copy.run("CREATE TABLE t (id int PRIMARY KEY, x int)", "INSERT INTO t VALUES (2, 1)")
    flow = between(source, copy)
    for _ in range(2):
        movement = await flow.move()
        assert movement.status == "INCOMPLETE"
        assert "the index t_x cannot be created" in movement.problems[0]
    copy.run("DELETE FROM t WHERE id = 2")
    assert (await flow.move()).status == "SUCCESS"
    assert copy.rows("SELECT count(*) FROM pg_indexes WHERE indexname = 't_x'") == [(1,)]


async def test_a_table_that_the_source_has_no_more_does_not_end_the_settling(tmp_path: Path) -> None:
    app, copy = tmp_path / "app.db", tmp_path / "copy.db"
    run(app, *SHOP[:3], *(f"INSERT INTO album VALUES ({number}, 1)" for number in range(200)))
    flow = between(app, copy)
    assert (await flow.move()).status == "SUCCESS"
    run(app, "DROP TABLE album", "DELETE FROM artist", "INSERT INTO artist VALUES (2, 'b')")
    movement = await flow.move()
    assert movement.status == "INCOMPLETE"
    assert any("none of them was deleted" in problem for problem in movement.problems)


async def test_each_stream_s_broken_keys_are_so_at_the_source_too(tmp_path: Path) -> None:
    app, copy = tmp_path / "app.db", tmp_path / "copy.db"
    run(
        app,
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p, y INTEGER REFERENCES p)",
        "INSERT INTO a VALUES (1, 7)",
        "INSERT INTO b VALUES (1, 8, 9)",
    )
    movement = await between(app, copy).move()
    assert len(movement.problems) == 3
    assert all(problem.endswith("; it is so at the source, too") for problem in movement.problems)
