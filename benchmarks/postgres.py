"""500,000 rows from PostgreSQL to PostgreSQL, compared with a binary `COPY … TO | COPY … FROM` of the same table; and an
upsert of all rows, changed, compared with a COPY to a staging table and a hand-written `INSERT … ON CONFLICT`.

One server with default durability holds both databases; it listens on a Unix socket of this machine.

- The pipe: two connections of one process.
- The Movement: a whole process, from the start of the interpreter to the settled Movement, with the store in a directory.
- The bare loop (bare_copy.py): converts the rows as a Movement does, and does nothing else.
- dlt: copies the table with its pyarrow backend, as a whole process in its own environment.
- The upsert: only the import is measured. By hand it is text that COPY takes unchanged; here, Event Files in memory,
  decompressed, whose JSON must become rows.

No network lies between client and server.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
import psycopg

from benchmarks import chart, data, item, measuring
from benchmarks.item import ROWS
from pipeline.connectors.postgres import PostgresDestination
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import FileToLoad, Loaded
from tests.servers.postgresql import PostgresqlServer, postgresql

ROUNDS = 3
_BARE = Path(__file__).with_name("bare_copy.py")
FILE_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20
_NAMES = list(data.TYPES)
_SCHEMA = StreamSchema(
    StreamName("item"),
    Label("item"),
    tuple(Column(name, kind, name != "id") for name, kind in data.TYPES.items()),
    ("id",),
)


def run(directory: Path) -> None:
    """Measure, and print a table."""
    with postgresql() as server:
        databases = {name: server.uri(name) for name in ("app", "piped", "moved", "upserted", "by_hand")}
        item.make(server, "app")
        item.fill(databases["app"], ROWS)
        seconds: dict[str, list[float]] = {}
        peak = 0.0
        changed = Changed(_text(), list(_event_files()))
        for round_ in range(ROUNDS + 1):
            took = _one_round(server, databases, changed, directory / str(round_), with_dlt=round_ > 0)
            if round_:  # the first round warms up
                peak = max(peak, took.pop("peak"))
                for name, value in took.items():
                    seconds.setdefault(name, []).append(value)
        _print(seconds, round(peak))


def _one_round(
    server: PostgresqlServer, databases: dict[str, str], changed: Changed, directory: Path, *, with_dlt: bool
) -> dict[str, float]:
    """Return the seconds of each, and a Movement's peak memory in bytes."""
    directory.mkdir()
    for name in ("piped", "moved"):
        item.make(server, name)
    took = {"pipe": _pipe(databases["app"], databases["piped"])}
    item.make(server, "bare")
    took["bare"] = _bare(databases["app"], server.uri("bare"), directory)
    places = (databases["app"], databases["moved"], "--home", directory / "home")
    moved = measuring.move(*places, directory=directory)
    again = measuring.move(*places, directory=directory)
    assert moved.summary["records"]["upserts"] == ROWS
    assert again.summary["event_files"]["exported"] == 0
    took |= {"move": moved.seconds, "again": again.seconds, "peak": moved.peak_bytes}
    took |= _upserts(server, databases, changed, by_hand_first=int(directory.name) % 2 == 0)
    if with_dlt:
        item.make(server, "loaded")
        took["dlt"] = item.dlt(databases["app"], server.uri("loaded"), directory).seconds
    return took


def _pipe(source: str, destination: str) -> float:
    """Copy with COPY | COPY, binary, into an equal table."""
    with psycopg.connect(source) as one, psycopg.connect(destination) as other:
        begun = time.perf_counter()
        other.execute(item.CREATE)
        with (
            one.cursor().copy("COPY item TO STDOUT (FORMAT binary)") as read,
            other.cursor().copy("COPY item FROM STDIN (FORMAT binary)") as write,
        ):
            for block in read:
                write.write(block)
        other.commit()
        return time.perf_counter() - begun


def _bare(source: str, destination: str, directory: Path) -> float:
    """Run the bare loop into an equal table."""
    with psycopg.connect(destination, autocommit=True) as connection:
        connection.execute(item.CREATE)
    here = {"PYTHONPATH": str(Path(__file__).parents[1])}
    both = [shlex.join([sys.executable, str(_BARE), *way]) for way in (("write", source), ("read", destination))]
    seconds = measuring.run(["sh", "-c", " | ".join(both)], directory, here).seconds
    with psycopg.connect(destination) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (
            ROWS,
        )  # sh returns only the status of the second
    return seconds


def _plot(seconds: dict[str, list[float]]) -> None:
    names = {"pipe": "COPY | COPY, binary", "bare": "bare loop", "move": "pipeline move", "dlt": "dlt, pyarrow",
             "hand": "upsert by hand", "upsert": "upsert of Event Files"}  # fmt: skip
    bars = [(words, ROWS / statistics.median(seconds[name])) for name, words in names.items()]
    chart.draw("speed-postgresql", "PostgreSQL to PostgreSQL", bars, ROUNDS)


def _changed() -> Iterator[tuple[object, ...]]:
    for row in data.rows(ROWS):
        yield (*row[:-1], f"{row[-1]}!")


def _text() -> bytes:
    """Return all rows, changed, in the text format of COPY."""
    return "".join(
        "\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in _changed()
    ).encode()


def _upserts(
    server: PostgresqlServer, databases: dict[str, str], changed: Changed, *, by_hand_first: bool
) -> dict[str, float]:
    """Return the seconds of the hand-written upsert and of the connector, each on an equal full table.

    A checkpoint separates the two, and they alternate in going first.
    """

    def by_hand() -> float:
        _make_full(server, databases, "by_hand")
        return _by_hand(databases["by_hand"], changed.text)

    def upsert() -> float:
        _make_full(server, databases, "upserted")
        return anyio.run(_upsert, databases["upserted"], [one.to_load() for one in changed.files])

    both = {"hand": by_hand, "upsert": upsert}
    return {name: both[name]() for name in (both if by_hand_first else reversed(both))}


def _make_full(server: PostgresqlServer, databases: dict[str, str], name: str) -> None:
    item.make(server, name)
    _pipe(databases["app"], databases[name])
    with psycopg.connect(databases[name], autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE item")
        connection.execute("CHECKPOINT")


def _by_hand(uri: str, text: bytes) -> float:
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


async def _upsert(uri: str, files: Sequence[FileToLoad]) -> float:
    async with PostgresDestination(uri).open(FlowName("bench")) as session:
        begun = time.perf_counter()
        for file in files:
            outcome = await session.load(file, after=[])
            assert isinstance(outcome, Loaded)
            assert not outcome.rejections
        return time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class EventFile:
    """An Event File in memory, decompressed: blocks of whole lines."""

    chunk: int
    count: int
    blocks: Sequence[bytes]

    def to_load(self) -> FileToLoad:
        """Return it as the importer passes it on; its content can be read once."""
        file = EventFileId(1, _SCHEMA.stream, Phase.INCREMENTAL, self.chunk)

        async def content() -> AsyncIterator[bytes]:
            for block in self.blocks:
                yield block

        size = sum(map(len, self.blocks))
        entry = FileEntry(file, _SCHEMA.label, ObjectKey(f"{file}"), Encoding.PLAIN, size, "", self.count, 0)
        header = Header(FlowName("bench"), file, _SCHEMA, self.count, datetime.now(UTC))
        return FileToLoad(entry, header, content(), _no_binary)


@dataclass(frozen=True, slots=True)
class Changed:
    """All rows, changed: as text for COPY, and as incremental Event Files."""

    text: bytes
    files: Sequence[EventFile]


def _event_files() -> Iterator[EventFile]:
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


def _event_file(lines: list[bytes], chunk: int) -> EventFile:
    step = len(lines) * BLOCK_BYTES // FILE_BYTES + 1
    blocks = [b"".join(lines[start : start + step]) for start in range(0, len(lines), step)]
    return EventFile(chunk, len(lines), blocks)


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
    line("bare loop: lines, zstd, lines, no more", "bare")
    line("pipeline move, first", "move", f"  peak {peak >> 20} MiB")
    line("pipeline move, nothing changed", "again")
    line("dlt, pyarrow backend", "dlt")
    line("COPY to staging, INSERT … ON CONFLICT", "hand")
    line("import of Event Files with all rows changed", "upsert")
    print(f"  first move against COPY | COPY: {ratio('pipe', 'move'):.2f} of its rate (0.5 asked for, 0.7 wanted)")
    print(f"  bare loop against COPY | COPY: {ratio('pipe', 'bare'):.2f} of its rate")
    print(f"  first move against the bare loop: {ratio('bare', 'move'):.2f} of its rate")
    print(f"  upsert against the one by hand: {ratio('hand', 'upsert'):.2f} of its rate (0.8 asked for)")
    print(f"  first move against dlt: {ratio('dlt', 'move'):.1f} times its rate (3 asked for)")
    if ROWS == item.USUAL_ROWS:
        _plot(seconds)
