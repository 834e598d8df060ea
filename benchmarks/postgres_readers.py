"""One large table of PostgreSQL, read with one, two and three connections, compared with a binary `COPY TO STDOUT`.

Each read is a whole process. It reads as an export does, in key order and with hashes: once as if nothing had changed, and
once with a JSON line for every row, as in a first Movement. `BENCH_READ_ROWS` sets the number of rows.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import psycopg

from benchmarks import measuring
from benchmarks.item import fill
from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.postgres.reading import ranges
from pipeline.engine.verify.stream_comparison import digest_only
from pipeline.ports.source import UpsertSink
from tests.servers.postgresql import postgresql

ROWS = int(os.environ.get("BENCH_READ_ROWS", "5000000"))
ROUNDS = 3
_COPY = "COPY item TO STDOUT (FORMAT binary)"
READERS = (1, 2, 3)


def run(directory: Path) -> None:
    """Measure, and print a table."""
    with postgresql() as server:
        uri = server.uri("large")
        with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE large")
        fill(uri, ROWS)
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        ways = [("copy", "0"), *((way, str(count)) for way in ("hashes", "lines") for count in READERS)]
        seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for round_ in range(ROUNDS):
            for way in ways if round_ % 2 else reversed(ways):
                seconds[way].append(_read_apart(uri, way, directory))
    print(
        f"Reading {ROWS:,} rows of 12 columns from PostgreSQL, {os.cpu_count()} processors for both, medians of {ROUNDS}"
    )
    bare = statistics.median(seconds["copy", "0"])
    _line("COPY TO STDOUT, binary, thrown away", bare, bare)
    for what, words in (
        ("hashes", "digests alone, as where nothing has changed"),
        ("lines", "with lines, as in a first Movement"),
    ):
        for count in READERS:
            _line(f"{words}: {count}", statistics.median(seconds[what, str(count)]), bare)


def _line(words: str, seconds: float, bare: float) -> None:
    print(f"  {words:48} {seconds:7.2f} s {ROWS / seconds:>9,.0f} rows/s  {seconds / bare:5.2f} of the COPY")


def _read_apart(uri: str, way: tuple[str, str], directory: Path) -> float:
    here = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return measuring.run([sys.executable, Path(__file__), uri, *way], directory, here).seconds


def _copy(uri: str) -> None:
    with psycopg.connect(uri) as connection, connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for _ in copy:
            pass


async def _read(uri: str, *, readers: int, with_lines: bool) -> None:
    ranges.READERS = readers
    async with PostgresSource(uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        count = 0
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                count += len(block)
                block.digest()
                if with_lines:
                    await block.upserts(range(len(block)), UpsertSink(digest_only))
        assert count == ROWS, count


def main(arguments: Sequence[str]) -> None:
    """Read the table once."""
    uri, way, readers = arguments
    if way == "copy":
        _copy(uri)
    else:
        anyio.run(lambda: _read(uri, readers=int(readers), with_lines=way == "lines"))


if __name__ == "__main__":
    main(sys.argv[1:])
