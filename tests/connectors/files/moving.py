"""A whole Movement in a few lines: a source's rows, diffed and cut into Event Files, loaded into a session."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
from blake3 import blake3

from pipeline.codec.values import key_from_json, to_json
from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.files.loading.destination import FilesSession
from pipeline.connectors.files.schema import DEFAULT_STREAM, files_schema
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, ObjectKey, Phase
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.keys import Key, order
from pipeline.ports.destination import FileToLoad, Loaded, Rejection, Violation
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import ROW_HASH_BYTES, ChangedContentError, RowBlock, UnreadRows, UpsertSink

FLOW = FlowName("tree")
Row = dict[str, object]


class MemoryBinaries:
    """Binary Files in memory, stored as the engine stores them: the body is opened to hash, and again to store."""

    def __init__(self) -> None:
        self.contents: dict[BinaryId, bytes] = {}
        self.opened = 0

    async def store(self, open_body: OpenBody) -> BinaryId:
        id_ = BinaryId(blake3(await self._read(open_body)).hexdigest())
        if id_ not in self.contents:
            again = await self._read(open_body)
            if blake3(again).hexdigest() != id_:
                raise ChangedContentError("the body was not the same both times")
            self.contents[id_] = again
        return id_

    async def _read(self, open_body: OpenBody) -> bytes:
        self.opened += 1
        async with open_body() as pieces:
            return b"".join([piece async for piece in pieces])

    def add(self, content: bytes) -> BinaryId:
        id_ = BinaryId(blake3(content).hexdigest())
        self.contents[id_] = content
        return id_

    async def store_contents(self, contents: Sequence[bytes]) -> Sequence[BinaryId]:
        self.opened += 1
        return [self.add(content) for content in contents]

    async def read_contents(self, ids: Sequence[BinaryId]) -> Mapping[BinaryId, bytes]:
        """Several contents are together, as in a pack of the engine; a content alone is not."""
        there = {id_: self.contents[id_] for id_ in ids if id_ in self.contents}
        return there if len(there) > 1 else {}

    @asynccontextmanager
    async def open(self, id_: BinaryId) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces(self.contents[id_])

    async def _pieces(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]


def file_id(movement: int, chunk: int = 0) -> EventFileId:
    return EventFileId(movement, DEFAULT_STREAM, Phase.FULL if movement == 1 else Phase.INCREMENTAL, chunk)


def to_load(id_: EventFileId, lines: Sequence[bytes], binaries: MemoryBinaries) -> FileToLoad:
    """An Event File with these record lines."""
    upserts = sum(line.startswith(b'{"upsert"') for line in lines)
    label = Label(id_.stream)
    key = ObjectKey(f"flows/tree/events/{id_}")
    entry = FileEntry(id_, label, key, Encoding.PLAIN, 0, "", upserts, len(lines) - upserts)
    header = Header(FLOW, id_, files_schema(id_.stream), len(lines), datetime(2026, 1, 1, tzinfo=UTC))

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 3):
            yield b"".join(lines[start : start + 3])

    return FileToLoad(entry, header, blocks(), binaries.open, id_.movement, read_contents=binaries.read_contents)


def upsert_line(path: str, kind: str = "file", **values: object) -> bytes:
    row: Row = {"path": path, "kind": kind, "size": None, "mode": 0o644, "mtime_ns": 1, "digest": None, "target": None}
    return orjson.dumps({"upsert": row | values}) + b"\n"


def delete_line(path: object) -> bytes:
    return orjson.dumps({"delete": {"path": path}}) + b"\n"


class TreeFlow:
    """Moves one tree to another place, again and again: each Movement holds what has changed since the last."""

    def __init__(
        self, source: Path, destination: Path, *, records_per_file: int = 1000, checksum: bool = False
    ) -> None:
        self.source = FilesSource(source, checksum=checksum)
        self.destination = FilesDestination(destination)
        self.binaries = MemoryBinaries()
        self.movement = 0
        self._per_file = records_per_file
        self._hashes: dict[Key, bytes] = {}
        self.rejections: list[Rejection] = []
        self.violations: list[Violation] = []
        self.inventory: list[InventoryItem] = []

    async def move(self) -> int:
        """One Movement; returns how many records it had."""
        self.movement += 1
        lines = await self._changes()
        async with self.destination.open(FLOW) as session:
            await self._load(session, lines)
            self.rejections = list(await session.retry_rejected())
            self.violations = list(await session.finish([DEFAULT_STREAM]))
            self.inventory += await session.ensure_objects(rows_changed=bool(lines))
        return len(lines)

    def items(self) -> list[tuple[str, str, str]]:
        """Kind, name and fate of each item of the inventory of the last Movement."""
        return [(item.kind, item.name, item.fate.value) for item in self.inventory]

    async def _load(self, session: FilesSession, lines: Sequence[bytes]) -> None:
        after: list[EventFileId] = []
        for chunk, start in enumerate(range(0, len(lines), self._per_file)):
            id_ = file_id(self.movement, chunk)
            file = to_load(id_, lines[start : start + self._per_file], self.binaries)
            assert isinstance(await session.load(file, after=after), Loaded)
            after = [id_]

    async def _changes(self) -> list[bytes]:
        seen: dict[Key, bytes] = {}
        lines: dict[Key, bytes] = {}
        async with self.source.open_snapshot() as snapshot:
            (schema,) = await snapshot.streams()
            async with snapshot.open_rows(schema) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    hashes = hashes_of(block)
                    keys = block.keys()
                    changed = [p for p, key in enumerate(keys) if self._hashes.get(key) != hashes[p]]
                    sink = UpsertSink(self.binaries.store, self.binaries.store_contents)
                    new = (await block.upserts(changed, sink)).splitlines(keepends=True)
                    lines |= zip([keys[position] for position in changed], new, strict=True)
                    seen |= zip(keys, hashes, strict=True)
            self.inventory = list(await snapshot.omissions())
        for key in self._hashes.keys() - seen.keys():
            lines[key] = orjson.dumps({"delete": {"path": to_json(key[0])}}) + b"\n"
        self._hashes = seen
        return [lines[key] for key in sorted(lines, key=order)]


def hashes_of(block: RowBlock) -> list[bytes]:
    data = block.row_hashes()
    return [data[start : start + ROW_HASH_BYTES] for start in range(0, len(data), ROW_HASH_BYTES)]


async def rows_of(
    source: FilesSource,
    binaries: MemoryBinaries,
    between: Callable[[], None] | None = None,
    rejected: dict[Key, str] | None = None,
) -> list[Row]:
    """All rows of a source. `between` runs after each block was built and before its contents are read.

    Rejected rows go into `rejected`; without it there must be none.
    """
    rows: list[Row] = []
    async with source.open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                assert not isinstance(block, UnreadRows)
                if between is not None:
                    between()
                sink = UpsertSink(binaries.store)
                data = await block.upserts(range(len(block)), sink)
                reasons = {block.keys()[at]: why.reason for at, why in sink.rejected.items()}
                assert rejected is not None or not reasons
                if rejected is not None:
                    rejected |= reasons
                rows.extend(orjson.loads(line)["upsert"] for line in data.splitlines())
    return rows


async def keys_of(source: FilesSource) -> list[Key]:
    async with source.open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            keys: list[Key] = []
            async for block in blocks:
                assert not isinstance(block, UnreadRows)
                keys += block.keys()
            return keys


def row_path(row: Row) -> Key:
    return key_from_json([row["path"]])


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What a tree holds, entry by entry, found without any code of the connector."""
    return dict(_described(os.fsencode(root), b""))


def _described(directory: bytes, prefix: bytes) -> Iterable[tuple[bytes, tuple[object, ...]]]:
    for name in os.listdir(directory):  # noqa: PTH208 - names are bytes
        place = directory + b"/" + name
        status = os.lstat(place)
        if prefix + name == b".pipeline-import":
            continue
        common = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        if stat.S_ISDIR(status.st_mode):
            yield prefix + name, common
            yield from _described(place, prefix + name + b"/")
        elif stat.S_ISLNK(status.st_mode):
            yield prefix + name, (*common, os.readlink(place))  # noqa: PTH115 - names are bytes
        else:
            yield prefix + name, (*common, Path(os.fsdecode(place)).read_bytes())
