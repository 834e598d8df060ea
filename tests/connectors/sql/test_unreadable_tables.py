"""A table that cannot be read does not keep the other tables of its database from being moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite.databases import rows, run, spoil
from tests.engine.real_flow import Places, RealFlow


async def test_a_missing_privilege_costs_its_table_alone(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    role = f"reader_{uuid4().hex[:8]}"
    source.run(
        f"CREATE ROLE {role} LOGIN",
        "CREATE TABLE a (id int PRIMARY KEY)",
        "CREATE TABLE closed (id int PRIMARY KEY, n int)",
        "CREATE TABLE z (id int PRIMARY KEY)",
        "INSERT INTO a VALUES (1)",
        "INSERT INTO closed VALUES (1, 1)",
        "INSERT INTO z VALUES (1)",
        f"GRANT SELECT ON a, closed, z TO {role}",
    )
    opened = PostgresSource(source.as_user(role))
    flow = RealFlow(Places(opened, PostgresDestination(copy.uri), opened, PostgresSource(copy.uri)))
    assert (await flow.move()).status is Status.SUCCESS
    source.run(
        f"REVOKE SELECT ON closed FROM {role}",
        "UPDATE closed SET n = 2",
        "INSERT INTO a VALUES (2)",
        "INSERT INTO z VALUES (2)",
    )
    movement = await flow.move()
    (item,) = [item for item in movement.inventory.items if item.is_gap]
    assert (movement.status, item.kind, item.name) == (Status.INCOMPLETE, "table", "closed")
    assert "the privilege SELECT is missing" in item.reason
    assert copy.rows("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM z), (SELECT n FROM closed)") == [(2, 2, 1)]
    assert {report.stream: report.incomparable for report in (await flow.verify()).differing} == {"closed": item.reason}
    source.run(f"GRANT SELECT ON closed TO {role}")
    assert (await flow.move()).status is Status.SUCCESS
    assert copy.rows("SELECT n FROM closed") == [(2,)]


async def test_damaged_pages_cost_their_table_alone(tmp_path: Path) -> None:
    source, copy = tmp_path / "source.db", tmp_path / "copy.db"
    run(
        source,
        "CREATE TABLE u (a INTEGER PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b)",
    )
    run(source, "INSERT INTO t VALUES (?, ?)", values=[(n, "x" * 500) for n in range(500)])
    spoil(source, 3 * 4096)
    movements = Movements(SqliteSource(source), SqliteDestination(copy))
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert [(item.kind, item.name) for item in movement.inventory.items] == [("table", "t")]
    assert rows(copy, "SELECT a FROM u") == [(1,)]
