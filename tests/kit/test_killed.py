"""A process that loads an app is killed with SIGKILL at random moments: the app is equal in the end, and nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.app import process_environment, run_process
from tests.kit.killing import Killer
from tests.kit.plugins import write_plugin

EXAMPLES = Path(__file__).parents[2] / "examples"
KILLS = int(os.environ.get("KILL_TEST_KILLS", "20"))
SMALL = {"PIPELINE_EVENT_FILE_ROWS": "150", "PIPELINE_QUEUE_VISIBILITY_SECONDS": "1", "PIPELINE_SWEEP_SECONDS": "0.2"}
OBJECTS = """\
import anyio, sqlite3

@dataclass
class Account:
    id: int
    name: str

FILE = Path(__file__).with_name("objects.db")
importer = Importer("objects")

@importer.connect
async def connect() -> AsyncIterator[sqlite3.Connection]:
    target = sqlite3.connect(FILE, timeout=60, isolation_level=None)
    target.execute("CREATE TABLE IF NOT EXISTS object (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER, name TEXT)")
    yield target
    target.close()

@importer.creates("accounts", row=Account)
async def create(target: sqlite3.Connection, row: Account, ctx: Import) -> str:
    made = target.execute("INSERT INTO object (source, name) VALUES (?, ?)", (row.id, row.name)).lastrowid
    await anyio.sleep(0.001)  # the answer is on its way
    return str(made)

@create.find
async def find(target: sqlite3.Connection, row: Account, ctx: Import) -> str | None:
    found = target.execute("SELECT id FROM object WHERE source = ?", (row.id,)).fetchone()
    return None if found is None else str(found[0])

@create.update
async def update(target: sqlite3.Connection, id: str, row: Account, ctx: Import) -> None:
    target.execute("UPDATE object SET name = ? WHERE id = ?", (row.name, id))

@create.delete
async def delete(target: sqlite3.Connection, id: str, ctx: Import) -> None:
    target.execute("DELETE FROM object WHERE id = ?", (id,))

@importer.dump
async def dump(target: sqlite3.Connection) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
    for id, source, name in target.execute("SELECT id, source, name FROM object").fetchall():
        yield "accounts", str(id), {"name": name}
"""


def select(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def change(root: Path, dice: random.Random, rows: int) -> None:
    with closing(sqlite3.connect(root / "app.db")) as app, app:
        app.execute("CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, balance INTEGER)")
        for _ in range(rows):
            number = dice.randrange(2500)
            if dice.random() < 0.1:
                app.execute("DELETE FROM accounts WHERE id = ?", (number,))
            else:
                row = (number, f"{number} {dice.randrange(10**9)}", dice.randrange(100))
                app.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", row)


def check_transactions(root: Path) -> None:
    """Each record of each file that is marked was applied once: the journal has one line for it."""
    marks = [json.loads(str(mark)) for (mark,) in select(root / "target.db", "SELECT CAST(mark AS TEXT) FROM marks")]
    (journal,) = select(root / "target.db", "SELECT count(*) FROM journal")
    assert journal == (sum(mark["upserts"] + mark["deletes"] for mark in marks),)


def check_stages(root: Path) -> None:
    """Nothing that was staged is left."""
    assert [path for path in (root / "documents").rglob("*") if path.is_file() and path.suffix != ".json"] == []


def check_objects(root: Path) -> None:
    """No row has a second object."""
    assert select(root / "objects.db", "SELECT source FROM object GROUP BY source HAVING count(*) > 1") == []


Check = Callable[[Path], None]
APPS: list[tuple[str, Path | None, str, Check]] = [
    ("transaction", EXAMPLES / "sql" / "sql_app.py", "path=target.db", check_transactions),
    ("stages", EXAMPLES / "documents" / "documents.py", "folder=documents", check_stages),
    ("creates", None, "", check_objects),
]


CASES = [
    pytest.param(how, kills, id=f"{how[0]}-{kills}", marks=() if kills < KILLS else pytest.mark.slow)
    for how in APPS
    for kills in ((2, KILLS) if how[0] == "creates" else (KILLS,))
]


@pytest.mark.parametrize(("how", "kills"), CASES)
def test_nothing_is_lost_or_done_twice(how: tuple[str, Path | None, str, Check], kills: int, tmp_path: Path) -> None:
    name, plugin, setting, check = how
    dice = random.Random(f"{name} {kills}")
    plugin = plugin or write_plugin(tmp_path / "objects.py", OBJECTS)
    options = ["--destination-set", setting] if setting else []
    move = ["move", "app.db", f"{plugin}:importer", "--flow", "crm", "--allow-deletes", "accounts", *options]
    change(tmp_path, dice, 3000)
    killed, killer = 0, Killer(dice)
    for _ in range(kills if kills == KILLS else 4 * kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *move],
            cwd=tmp_path,
            env={**process_environment(), **SMALL},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        killed += killer.kill(process)
        if dice.random() < 0.4:
            change(tmp_path, dice, 300)
    assert killed >= min(kills, 2)
    moved = run_process(*move, cwd=tmp_path)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    verified = run_process("verify", "crm", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    check(tmp_path)
