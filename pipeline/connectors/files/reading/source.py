"""A directory tree as a source: one stream, one row an entry, contents as Binary Files.

A row holds the path, the kind, permission bits, the modification time, the size and digest of a file, the text of a
link. It does not hold owners and groups, access times, extended attributes, holes, or hard links.

A tree has no transactions. The snapshot is each entry at the moment its turn came; an entry that appears, vanishes or
changes meanwhile is correct in the next Movement.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import orjson
from anyio import to_thread
from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.codec.values import to_json
from pipeline.connectors.files.concurrency import for_each
from pipeline.connectors.files.directories import closing_fd, open_root
from pipeline.connectors.files.errors import translate
from pipeline.connectors.files.names import METADATA_NAME, from_bytes, location_of, shown
from pipeline.connectors.files.reading.contents import digest_content, store_content
from pipeline.connectors.files.schema import COLUMNS, DEFAULT_STREAM, files_schema
from pipeline.connectors.files.tree import Entry, Kind, walk
from pipeline.domain.errors import ConfigurationError, DefectError, RefusedError
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import StoreBinary

BLOCK_ENTRIES = 500
CONTENTS_AT_ONCE = 4
_NAMES = ",".join(column.name for column in COLUMNS).encode()


class FilesSource:
    """The tree below `root` as a Source.

    A file counts as unchanged when its kind, permissions, size, modification and change time are the same; only other
    files are read. With `checksum` every content is read, and its digest replaces the change time. `exclude` are paths
    below `root` to leave out with everything below them (such as the pipeline's own directory).
    """

    def __init__(
        self,
        root: Path,
        *,
        stream: StreamName = DEFAULT_STREAM,
        checksum: bool = False,
        exclude: Sequence[Path] = (),
    ) -> None:
        self._root = root
        self._stream = stream
        self._checksum = checksum
        self._exclude = exclude

    @property
    def location(self) -> str:
        return location_of(self._root)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[FilesSnapshot]:
        """Open the tree. ConfigurationError when there is no such directory, RefusedError when it may not be read."""
        with closing_fd(await to_thread.run_sync(_open_tree, self._root)) as root_fd:
            excluded = await to_thread.run_sync(_excluded, self._root, self._exclude)
            yield FilesSnapshot(root_fd, files_schema(self._stream), excluded, checksum=self._checksum)


class FilesSnapshot:
    """An open tree: a Snapshot of one stream."""

    def __init__(self, root_fd: int, schema: StreamSchema, excluded: frozenset[bytes], *, checksum: bool) -> None:
        self._root_fd = root_fd
        self._schema = schema
        self._excluded = excluded
        self._checksum = checksum

    async def streams(self) -> Sequence[StreamSchema]:
        return (self._schema,)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[FilesBlock]]:
        if schema.stream != self._schema.stream:
            raise DefectError(f"the files source was asked for the stream {schema.stream!r}, which it does not have")
        entries = walk(self._root_fd, excluded=self._excluded)
        blocks = self._blocks(entries)
        try:
            yield blocks
        finally:
            await blocks.aclose()
            entries.close()

    async def _blocks(self, entries: Generator[Entry, None, None]) -> AsyncGenerator[FilesBlock, None]:
        while batch := await to_thread.run_sync(lambda: list(islice(entries, BLOCK_ENTRIES))):
            digests: Mapping[bytes, str] | None = None
            if self._checksum:
                digests = await self._digests(batch)
                batch = [entry for entry in batch if entry.kind is not Kind.FILE or entry.path in digests]
            if batch:
                yield FilesBlock(self._root_fd, batch, digests)

    async def _digests(self, batch: Sequence[Entry]) -> Mapping[bytes, str]:
        """Return the digests of the files of a batch that still exist."""
        digests: dict[bytes, str] = {}

        async def read(entry: Entry) -> None:
            digest = await digest_content(self._root_fd, entry)
            if digest is not None:
                digests[entry.path] = digest

        await for_each([entry for entry in batch if entry.kind is Kind.FILE], read, at_once=CONTENTS_AT_ONCE)
        return digests


class FilesBlock:
    """Consecutive entries of a tree: a RowBlock. `digests` are those of all its files, None without `checksum`."""

    def __init__(self, root_fd: int, entries: Sequence[Entry], digests: Mapping[bytes, str] | None) -> None:
        self._root_fd = root_fd
        self._entries = entries
        self._digests = digests

    def __len__(self) -> int:
        return len(self._entries)

    def digest(self) -> bytes:
        return xxh3_128_digest(self.row_hashes())

    def last_key(self) -> Key:
        return (from_bytes(self._entries[-1].path),)

    def keys(self) -> Sequence[Key]:
        return [(from_bytes(entry.path),) for entry in self._entries]

    def row_hashes(self) -> bytes:
        """Return a hash an entry, of its status (and of its content's digest, with `checksum`)."""
        return b"".join([xxh3_64_digest(self._described(entry)) for entry in self._entries])

    def _described(self, entry: Entry) -> bytes:
        status = entry.status
        numbers = f"{entry.kind}|{stat.S_IMODE(status.st_mode)}|{status.st_mtime_ns}"
        if entry.kind is Kind.FILE:
            content = status.st_ctime_ns if self._digests is None else self._digests[entry.path]
            numbers += f"|{status.st_size}|{content}"
        # Neither a path nor a link's text can hold NUL, the separator.
        return b"\0".join((_NAMES, numbers.encode(), entry.path, entry.target or b""))

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        """Return one line an entry; the contents of files are stored first, a few at a time."""
        lines: dict[int, bytes] = {}

        async def describe(position: int) -> None:
            entry = self._entries[position]
            if entry.kind is Kind.FILE:
                content = await store_content(self._root_fd, entry, store_binary)
                lines[position] = _line(entry, content.status, content.size, content.binary)
            else:
                lines[position] = _line(entry, entry.status, None, None)

        await for_each(positions, describe, at_once=min(CONTENTS_AT_ONCE, max(1, len(positions))))
        return b"".join([lines[position] for position in positions])


def _line(entry: Entry, status: os.stat_result, size: int | None, digest: str | None) -> bytes:
    if not -(2**63) <= status.st_mtime_ns < 2**63:
        raise RefusedError(
            f"{shown(entry.path)!r}: its modification time is outside the years 1678 to 2262, which an Event File cannot "
            "hold; set it with 'touch', then run the command again"
        )
    row = {
        "path": to_json(from_bytes(entry.path)),
        "kind": entry.kind,
        "size": size,
        "mode": stat.S_IMODE(status.st_mode),
        "mtime_ns": status.st_mtime_ns,
        "digest": digest,
        "target": None if entry.target is None else to_json(from_bytes(entry.target)),
    }
    return orjson.dumps({"upsert": row}) + b"\n"


def _open_tree(root: Path) -> int:
    try:
        return open_root(root)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{location_of(root)}: there is no such directory; check the path") from error
    except NotADirectoryError as error:
        raise ConfigurationError(f"{location_of(root)}: this is not a directory; name a directory to move") from error
    except OSError as error:
        raise translate(error, location_of(root)) from error


def _excluded(root: Path, exclude: Sequence[Path]) -> frozenset[bytes]:
    top = root.resolve()
    inside = [path.resolve().relative_to(top) for path in exclude if path.resolve().is_relative_to(top)]
    return frozenset({METADATA_NAME, *(os.fsencode(path) for path in inside)})
