"""The process of a `ScanWorker`: reads stretches of tables of one database, and tells what differs from what is known.

Of a block with the digest that it is known to have only that is told. Of others the keys and hashes are sent, and the rows
that are not known.

What is asked is received by a thread of its own: whoever asks does not fetch meanwhile, so he must never have to wait until
there is room for what is to be told.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from struct import Struct
from threading import Thread
from typing import Any

from pipeline.connectors.sqlite.connection import ensure_untouched, location_of, open_reader
from pipeline.connectors.sqlite.reading.blocks import Row, SqliteRowBlock
from pipeline.connectors.sqlite.reading.rows import Opened, TableReading
from pipeline.connectors.sqlite.schema.tables import encoding_of, read_table
from pipeline.domain.errors import PipelineError
from pipeline.domain.event_file import KeyRange
from pipeline.domain.keys import Key, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.ranged_source import KnownRange, UnchangedRows
from pipeline.ports.source import ROW_HASH_BYTES
from pipeline.processes.process_setup import configure_runtime
from pipeline.sqlite_access import translated

BLOCKS_AHEAD = 32
"""Blocks that are told of before they are asked for. Of a block of three megabytes at most an eighth is kept."""

SENT_PART = 8
"""Of a block with more than one row in so many that is not known, no row is sent."""

_HASH = Struct(f"{ROW_HASH_BYTES}s")

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Errand:
    """What the process is for."""

    path: Path
    busy_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Joined:
    """The database is open, in a read transaction; `inode` tells which file it is."""

    inode: Inode


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows to be read, and what is known of them, range by range."""

    schema: StreamSchema
    covers: KeyRange
    known: tuple[KnownRange, ...]


@dataclass(frozen=True, slots=True)
class Differing:
    """A block that is not a known range as it was: the keys and hashes of all its rows, and those rows that are not known.

    The keys are what `RowForm.key_part` gives.
    """

    digest: bytes
    last_key: Key
    key_parts: Sequence[Any]
    hashes: bytes
    rows: Mapping[int, Row]


@dataclass(frozen=True, slots=True)
class Changed:
    """A block of which so much is not known that reading it takes less time than sending it."""

    last_key: Key


@dataclass(frozen=True, slots=True)
class StretchEnded:
    """All of a stretch has been told."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Something went wrong here. Whoever reads the same meets it himself."""

    reason: str


Told = Joined | UnchangedRows | Differing | Changed | StretchEnded | GaveUp


def main(line: int) -> None:
    """Serve what comes over the socket with this file descriptor, until its other end is closed."""
    configure_runtime()
    with Connection(line) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        errand: Errand = connection.recv()
        try:
            _serve(connection, errand)
        except PipelineError as error:
            connection.send(GaveUp(str(error)))


def inode_of(path: Path) -> Inode:
    """Return which file is at `path`."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _serve(connection: Connection, errand: Errand) -> None:
    place = location_of(errand.path)
    reader, identity = open_reader(errand.path, errand.busy_timeout_seconds)
    with translated(place):
        reader.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
        encoding = encoding_of(reader)
    connection.send(Joined(inode_of(errand.path)))
    asked: Queue[Stretch] = Queue()
    ready: Queue[Told] = Queue(BLOCKS_AHEAD)
    Thread(target=_receive, args=(connection, asked), daemon=True).start()
    Thread(target=_send, args=(connection, ready), daemon=True).start()
    opened = Opened(reader, place, encoding, partial(ensure_untouched, errand.path, identity))
    while True:
        stretch = asked.get()
        try:
            _read(opened, stretch, ready)
        except PipelineError as error:
            ready.put(GaveUp(str(error)))


def _receive(connection: Connection, asked: Queue[Stretch]) -> None:
    """Take what is asked. Once the other end is gone the process has no purpose, whatever else it is doing."""
    try:
        while True:
            asked.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def _send(connection: Connection, ready: Queue[Told]) -> None:
    """Send what is ready."""
    try:
        while True:
            connection.send(ready.get())
    except OSError:
        os._exit(0)


def _read(opened: Opened, stretch: Stretch, ready: Queue[Told]) -> None:
    with translated(opened.place):
        table = read_table(opened.connection, stretch.schema.stream)
    reading = TableReading(opened, table, stretch.schema, stretch.covers)
    known = deque(stretch.known)
    try:
        while (block := reading.read(known[0] if known else None)) is not None:
            last_key = block.last_key()
            if known and known[0].digest == block.digest():
                ready.put(UnchangedRows(len(block), block.digest(), last_key))
            else:
                ready.put(_told(block, last_key, known))
            while known and order(known[0].until) <= order(last_key):
                known.popleft()
    finally:
        reading.close()
    ready.put(StretchEnded())


def _told(block: SqliteRowBlock, last_key: Key, known: Iterable[KnownRange]) -> Differing | Changed:
    """Tell of a block that is not a known range. A row is known if its hash is one of those of the ranges it lies in."""
    before: set[bytes] = set()
    for one in known:
        before.update(_split(one.hashes))
        if order(one.until) >= order(last_key):
            break
    hashes = block.row_hashes()
    new = [at for at, row_hash in enumerate(_split(hashes)) if row_hash not in before]
    if SENT_PART * len(new) > len(block):
        return Changed(last_key)
    rows = dict(zip(new, block.rows_at(new), strict=True))
    return Differing(block.digest(), last_key, block.key_parts(), hashes, rows)


def _split(hashes: bytes) -> Iterable[bytes]:
    return [row_hash for (row_hash,) in _HASH.iter_unpack(hashes)]
