"""A database is moved into an app with transactions of its own: each record has its effect once."""

from __future__ import annotations

from pathlib import Path

import pipeline
from tests.examples.moving import EXAMPLES, change, move, rows

EXAMPLE = EXAMPLES / "sql" / "sql_app.py"


async def test_a_database_is_moved_into_an_app_with_transactions(tmp_path: Path) -> None:
    source, app, home = tmp_path / "shop.db", tmp_path / "accounts.db", tmp_path / "home"
    settings = {"destination_settings": {"path": str(app)}}
    change(source, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, balance INTEGER)")
    change(source, "INSERT INTO accounts VALUES (1, 'Ada', 10), (2, 'Grace', NULL), (3, 'Edsger', 30)")
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    assert rows(app, "SELECT * FROM accounts") == [(1, "Ada", 10), (2, "Grace", None), (3, "Edsger", 30)]
    change(source, "DELETE FROM accounts WHERE id = 1", "UPDATE accounts SET balance = 5 WHERE id = 2")
    change(source, "INSERT INTO accounts VALUES (4, 'Barbara', 0)")
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    assert rows(app, "SELECT * FROM accounts") == rows(source, "SELECT * FROM accounts")
    assert rows(app, "SELECT account_id, what FROM journal WHERE at > 3 ORDER BY 1") == [
        (1, "delete"),
        (2, "upsert"),
        (4, "upsert"),
    ]
    assert len(rows(app, "SELECT * FROM marks")) == len(rows(app, "SELECT DISTINCT file FROM marks")) > 2


async def test_a_record_that_the_app_rejects_leaves_no_trace_and_stops_no_other(tmp_path: Path) -> None:
    source, app, home = tmp_path / "shop.db", tmp_path / "accounts.db", tmp_path / "home"
    change(source, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    change(source, "INSERT INTO accounts VALUES (1, 'Ada'), (2, 'Ada'), (3, 'Grace')")
    moved = await pipeline.move(
        source,
        f"{EXAMPLE}:importer",
        destination_settings={"path": str(app)},
        settings=pipeline.Settings(home=home),
    )
    assert moved.status is pipeline.Status.INCOMPLETE
    assert rows(app, "SELECT id FROM accounts") == [(1,), (3,)]
    assert rows(app, "SELECT account_id FROM journal ORDER BY 1") == [(1,), (3,)]
    change(source, "UPDATE accounts SET name = 'Edsger' WHERE id = 2")
    await move(source, f"{EXAMPLE}:importer", home, destination_settings={"path": str(app)})
    assert rows(app, "SELECT id, name FROM accounts") == rows(source, "SELECT id, name FROM accounts")
