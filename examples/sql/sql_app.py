"""An app with an SQL database as the destination: here SQLite, by the module of the standard library.

    pipeline move shop.db ./sql_app.py:importer --destination-set path=accounts.db

The rows of an Event File and its mark are committed in one transaction (`transaction`), so each file is applied exactly once.
That allows what may not be repeated: here every record adds a line to a journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio import to_thread

from pipeline.kit import Batch, Import, Importer, Key, Refused, Upsert

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, balance INTEGER);
CREATE TABLE IF NOT EXISTS journal (at INTEGER PRIMARY KEY, account_id INTEGER, what TEXT);
CREATE TABLE IF NOT EXISTS marks (file TEXT PRIMARY KEY, mark BLOB NOT NULL);
"""
UPSERT = """
INSERT INTO accounts VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, balance = excluded.balance
"""
WAIT_SECONDS = 5.0


@dataclass
class Settings:
    path: Path


@dataclass
class Account:
    id: int
    name: str
    balance: int | None = None


importer = Importer("accounts")


@importer.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    yield prepared(settings.path)


@importer.transaction
async def transaction(path: Path) -> AsyncIterator[sqlite3.Connection]:
    with closing(opened(path)) as database:
        await to_thread.run_sync(database.execute, "BEGIN IMMEDIATE")
        yield database
        await to_thread.run_sync(database.execute, "COMMIT")  # an error ends the connection without it


@transaction.read_marks
async def read_marks(database: sqlite3.Connection) -> Mapping[str, bytes]:
    return dict(database.execute("SELECT file, mark FROM marks"))


@transaction.write_mark
async def write_mark(database: sqlite3.Connection, file: str, mark: bytes) -> None:
    database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (file, mark))


@importer.applies("accounts", row=Account, delivery="transaction")
async def apply(database: sqlite3.Connection, batch: Batch[Account], ctx: Import) -> None:
    try:
        await to_thread.run_sync(write, database, batch)
    except sqlite3.IntegrityError as error:
        raise Refused(str(error)) from error  # the batch is rolled back, and applied again record by record


def write(database: sqlite3.Connection, batch: Batch[Account]) -> None:
    for record in batch.records:
        if isinstance(record, Upsert):
            database.execute(UPSERT, (record.row.id, record.row.name, record.row.balance))
        else:
            database.execute("DELETE FROM accounts WHERE id = ?", (record.key,))
        what = "upsert" if isinstance(record, Upsert) else "delete"
        database.execute("INSERT INTO journal (account_id, what) VALUES (?, ?)", (record.key, what))


@importer.dump
async def dump(path: Path) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    with closing(opened(path)) as database:
        for id_, name, balance in database.execute("SELECT id, name, balance FROM accounts"):
            yield "accounts", id_, {"id": id_, "name": name, "balance": balance}


@importer.scratch
async def scratch() -> AsyncIterator[Path]:
    with TemporaryDirectory() as directory:
        yield prepared(Path(directory) / "accounts.db")


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection whose transactions begin and end where the code says it. Threads use it in turn."""
    return sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)


def prepared(path: Path) -> Path:
    """Return the path of a database that has the tables."""
    with closing(opened(path)) as database:
        database.executescript(SCHEMA)
    return path
