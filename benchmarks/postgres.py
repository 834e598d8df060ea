"""500,000 rows from PostgreSQL to PostgreSQL, against `COPY … TO | COPY … FROM` in binary of the same table; and an upsert
of all rows, changed, against a COPY to a staging table with `INSERT … ON CONFLICT` written by hand.

One server holds both databases, durable as it comes, on a Unix socket of this machine. The pipe is two connections of one
process. The Movement is a whole process, from the start of the interpreter to the settled Movement, with the store in a
directory. dlt copies the same table by its pyarrow backend, a whole process too, in an environment of its own. Of the upsert
only the import is measured on both sides: by hand, text that COPY takes as it is; here, Event Files that have been fetched
and unpacked, JSON that must become rows. Not measured: a network between the two.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
import psycopg

from benchmarks import data, measuring
from localstack.environment import environment
from pipeline.connectors.postgres import PostgresDestination
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import FileToLoad, Loaded
from tests.servers.postgresql import PostgresqlServer, postgresql

ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
ROUNDS = 3
PLOT = Path(__file__).parents[1] / "docs" / "explanation" / "speed-postgresql.svg"
_OTHERS = Path(__file__).with_name("others.txt")
FILE_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20
_NAMES = [
    "id",
    "name",
    "email",
    "city",
    "note",
    "amount",
    "quantity",
    "created",
    "updated",
    "active",
    "reference",
    "body",
]
_TYPES = ["integer", "text", "text", "text", "text", "real", "integer", "text", "text", "integer", "text", "text"]
_SQL = {"integer": "bigint", "real": "double precision", "text": "text"}
_COLUMNS = ", ".join(f"{name} {_SQL[kind]}" for name, kind in zip(_NAMES, _TYPES, strict=True))
_CREATE = f"CREATE TABLE item ({_COLUMNS}, PRIMARY KEY (id))"
_SCHEMA = StreamSchema(
    StreamName("item"),
    Label("item"),
    tuple(Column(name, kind, name != "id") for name, kind in zip(_NAMES, _TYPES, strict=True)),
    ("id",),
)


def run(directory: Path) -> None:
    """Measure, and print a table."""
    with postgresql() as server:
        databases = {name: server.uri(name) for name in ("app", "piped", "moved", "upserted", "by_hand")}
        _make(server, "app")
        _fill(databases["app"])
        seconds: dict[str, list[float]] = {}
        peak = 0
        for round_ in range(ROUNDS + 1):
            for name in ("piped", "moved"):
                _make(server, name)
            home = directory / f"home {round_}"
            piped = _pipe(databases["app"], databases["piped"])
            moved = measuring.move(databases["app"], databases["moved"], "--home", home, directory=directory)
            again = measuring.move(databases["app"], databases["moved"], "--home", home, directory=directory)
            assert moved.summary["records"]["upserts"] == ROWS
            assert again.summary["event_files"]["exported"] == 0
            by_hand, upserted = _upserts(server, databases)
            _make(server, "loaded")
            loaded = _dlt(databases["app"], server.uri("loaded"), directory)
            if round_:  # the first round warms up
                for name, took in (
                    ("pipe", piped), ("move", moved.seconds), ("again", again.seconds), ("hand", by_hand), ("upsert", upserted),
                    ("dlt", loaded),
                ):  # fmt: skip
                    seconds.setdefault(name, []).append(took)
                peak = max(peak, moved.peak_bytes)
        _print(seconds, peak)


def _make(server: PostgresqlServer, database: str) -> None:
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{database}"')
        connection.execute(f'CREATE DATABASE "{database}"')
        connection.execute("CHECKPOINT")


def _fill(uri: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(_CREATE)
        with connection.cursor().copy("COPY item FROM STDIN") as copy:
            for row in data.rows(ROWS):
                copy.write_row(row)
        connection.execute("VACUUM ANALYZE item")


def _pipe(source: str, destination: str) -> float:
    """COPY | COPY, binary, into an equal table."""
    with psycopg.connect(source) as one, psycopg.connect(destination) as other:
        begun = time.perf_counter()
        other.execute(_CREATE)
        with (
            one.cursor().copy("COPY item TO STDOUT (FORMAT binary)") as read,
            other.cursor().copy("COPY item FROM STDIN (FORMAT binary)") as write,
        ):
            for block in read:
                write.write(block)
        other.commit()
        return time.perf_counter() - begun


def _dlt(source: str, destination: str, directory: Path) -> float:
    """dlt, as its documentation has it; RuntimeError with what it says when it fails."""
    python = environment("others", _OTHERS) / "python"
    settings = {"DLT_DATA_DIR": str(directory / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    shutil.rmtree(directory / "dlt", ignore_errors=True)
    return measuring.run([python, _OTHERS.with_name("dlt_copy.py"), source, destination], directory, settings).seconds


def _plot(seconds: dict[str, list[float]]) -> None:
    names = {"pipe": "COPY | COPY, binary", "move": "pipeline move", "dlt": "dlt, pyarrow", "hand": "upsert by hand",
             "upsert": "upsert of Event Files"}  # fmt: skip
    table = {
        "title": f"PostgreSQL to PostgreSQL, {ROWS:,} rows of 12 columns",
        "bars": [(words, ROWS / statistics.median(seconds[name])) for name, words in names.items()],
        "note": f"medians of {ROUNDS}, side by side in one run on {os.cpu_count()} cores, client and server together",
    }
    python = environment("others", _OTHERS) / "python"
    subprocess.run([python, _OTHERS.with_name("plot.py"), PLOT], input=orjson.dumps(table), check=True)
    print(f"  drawn in {PLOT.relative_to(Path(__file__).parents[1])}")


def _changed() -> Iterator[tuple[object, ...]]:
    for row in data.rows(ROWS):
        yield (*row[:-1], f"{row[-1]}!")


def _upserts(server: PostgresqlServer, databases: dict[str, str]) -> tuple[float, float]:
    """Return the seconds by hand and of the connector, each onto an equal table with all rows in it."""
    with ExitStack() as stack:
        for name in ("by_hand", "upserted"):
            _make(server, name)
            _pipe(databases["app"], databases[name])
            connection = stack.enter_context(psycopg.connect(databases[name], autocommit=True))
            connection.execute("VACUUM ANALYZE item")
            connection.execute("CHECKPOINT")
        return _by_hand(databases["by_hand"]), anyio.run(_upsert, databases["upserted"])


def _by_hand(uri: str) -> float:
    text = "".join(
        "\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in _changed()
    ).encode()
    update = ", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])
    with psycopg.connect(uri) as connection:
        begun = time.perf_counter()
        connection.execute("CREATE TEMPORARY TABLE staging (LIKE item) ON COMMIT DROP")
        with connection.cursor().copy("COPY staging FROM STDIN") as copy:
            for start in range(0, len(text), BLOCK_BYTES):
                copy.write(text[start : start + BLOCK_BYTES])
        connection.execute(f"INSERT INTO item SELECT * FROM staging ON CONFLICT (id) DO UPDATE SET {update}")
        connection.commit()
        return time.perf_counter() - begun


async def _upsert(uri: str) -> float:
    files = list(_event_files())
    async with PostgresDestination(uri).open(FlowName("bench")) as session:
        begun = time.perf_counter()
        for file in files:
            outcome = await session.load(file, after=[])
            assert isinstance(outcome, Loaded)
            assert not outcome.rejections
        return time.perf_counter() - begun


def _event_files() -> Iterator[FileToLoad]:
    """Give all rows, changed, as incremental files of blocks of lines."""
    lines: list[bytes] = []
    chunk = size = 0
    for row in _changed():
        lines.append(orjson.dumps({"upsert": dict(zip(_NAMES, row, strict=True))}) + b"\n")
        size += len(lines[-1])
        if size >= FILE_BYTES:
            yield _event_file(lines, chunk)
            lines, size, chunk = [], 0, chunk + 1
    if lines:
        yield _event_file(lines, chunk)


def _event_file(lines: list[bytes], chunk: int) -> FileToLoad:
    file = EventFileId(1, _SCHEMA.stream, Phase.INCREMENTAL, chunk)
    step = len(lines) * BLOCK_BYTES // FILE_BYTES + 1
    blocks = [b"".join(lines[start : start + step]) for start in range(0, len(lines), step)]

    async def content() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    size = sum(map(len, blocks))
    entry = FileEntry(file, _SCHEMA.label, ObjectKey(f"{file}"), Encoding.PLAIN, size, "", len(lines), 0)
    header = Header(FlowName("bench"), file, _SCHEMA, len(lines), datetime.now(UTC))
    return FileToLoad(entry, header, content(), _no_binary)


def _no_binary(binary: BinaryId) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    raise AssertionError(f"{binary} is not expected to be opened")


def _print(seconds: dict[str, list[float]], peak: int) -> None:
    def line(words: str, name: str, more: str = "") -> None:
        median = statistics.median(seconds[name])
        print(f"  {words:44} {median:6.2f} s {ROWS / median:>9,.0f} rows/s{more}")

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    print(f"PostgreSQL to PostgreSQL, {ROWS:,} rows of 12 columns, medians of {ROUNDS}")
    line("COPY TO | COPY FROM, binary", "pipe")
    line("pipeline move, first", "move", f"  peak {peak >> 20} MiB")
    line("pipeline move, nothing changed", "again")
    line("dlt, pyarrow backend", "dlt")
    line("COPY to staging, INSERT … ON CONFLICT", "hand")
    line("import of Event Files with all rows changed", "upsert")
    print(f"  first move against COPY | COPY: {ratio('pipe', 'move'):.2f} of its rate (0.5 asked for, 0.7 wanted)")
    print(f"  upsert against the one by hand: {ratio('hand', 'upsert'):.2f} of its rate (0.8 asked for)")
    print(f"  first move against dlt: {ratio('dlt', 'move'):.1f} times its rate (3 asked for)")
    _plot(seconds)
