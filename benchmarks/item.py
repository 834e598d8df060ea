"""The table `item` in PostgreSQL, with the rows of `data`; and dlt, which copies it."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

from benchmarks import data, measuring
from localstack.environment import environment
from tests.servers.postgresql import PostgresqlServer

USUAL_ROWS = 500_000
ROWS = int(os.environ.get("BENCH_ROWS", USUAL_ROWS))
OTHERS = Path(__file__).with_name("others.txt")
_SQL = {"integer": "bigint", "real": "double precision", "text": "text"}
TYPES = {name: _SQL[kind] for name, kind in data.TYPES.items()}
CREATE = f"CREATE TABLE item ({', '.join(f'{name} {kind}' for name, kind in TYPES.items())}, PRIMARY KEY (id))"


def make(server: PostgresqlServer, database: str) -> None:
    """Create an empty database in place of one that may be there."""
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{database}"')
        connection.execute(f'CREATE DATABASE "{database}"')
        connection.execute("CHECKPOINT")


def fill(uri: str, count: int) -> None:
    """Create the table with this many rows, and analyze it."""
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(CREATE)
        with connection.cursor().copy("COPY item FROM STDIN") as copy:
            for row in data.rows(count):
                copy.write_row(row)
        connection.execute("VACUUM ANALYZE item")


def dlt(source: str, destination: str, directory: Path) -> measuring.Run:
    """Run dlt as its documentation shows, into the schema `bench`. RuntimeError with its output if it fails."""
    python = environment("others", OTHERS) / "python"
    settings = {"DLT_DATA_DIR": str(directory / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    return measuring.run([python, OTHERS.with_name("dlt_copy.py"), source, destination], directory, settings)
