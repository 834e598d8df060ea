"""A directory tree as a source: one stream, one row an entry, contents as Binary Files.

A row holds the path, the kind, permission bits, the modification time, the size and digest of a file, the text of a
link. It names what a copy will lack (`attributes.py`). It does not hold owners and groups, access times, or hard links.

A tree has no transactions. The snapshot is each entry at the moment its turn came; an entry that appears, vanishes or
changes meanwhile is correct in the next Movement.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import orjson
from anyio import to_thread
from blake3 import blake3
from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.codec.values import to_json
from pipeline.connectors.files.attributes import NONE, SET_ID, Attributes, read_attributes
from pipeline.connectors.files.concurrency import for_each, grouped
from pipeline.connectors.files.directories import closing_fd, directory, open_root
from pipeline.connectors.files.errors import UnreadableEntryError, entry_errors, translate
from pipeline.connectors.files.mounts import ensure_mounted
from pipeline.connectors.files.names import METADATA_NAME, from_bytes, location_of, shown
from pipeline.connectors.files.reading.contents import Content, digest_large, read_contents, store_large
from pipeline.connectors.files.schema import DEFAULT_STREAM, HASHED_COLUMNS, files_schema
from pipeline.connectors.files.tree import Entry, Kind, Omitted, Unnoted, Unread, walk
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import RowCount, UnreadRows, UpsertSink

BLOCK_ENTRIES = 500
GROUPS_AT_ONCE = 2
COUNTED_AT_ONCE = 2_000
_FILE = Kind.FILE
_NAMES = ",".join(column.name for column in HASHED_COLUMNS).encode()
_Checked = Mapping[bytes, tuple[str, int]]
"""The digest of each file and directory, which has none, and the permission bits for a copy."""


class FilesSource:
    """The tree below `root` as a Source.

    A file counts as unchanged when its kind, permissions, size, modification and change time are the same; only other
    files are read. With `checksum` every content is read, and its digest replaces the change time. `exclude` are paths
    below `root` to leave out with everything below them, each with the item to report when it exists. With `one_file_system`
    the tree ends at mount points.
    """

    def __init__(
        self,
        root: Path,
        *,
        stream: StreamName = DEFAULT_STREAM,
        checksum: bool = False,
        exclude: Mapping[Path, InventoryItem] | None = None,
        one_file_system: bool = False,
    ) -> None:
        self._root = root
        self._stream = stream
        self._checksum = checksum
        self._exclude = exclude or {}
        self._one_file_system = one_file_system

    @property
    def location(self) -> str:
        return location_of(self._root)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[FilesSnapshot]:
        """Open the tree. ConfigurationError when there is no such directory.

        RefusedError when it may not be read, or when a file system in it is not mounted.
        """
        with closing_fd(await to_thread.run_sync(_open_tree, self._root)) as root_fd:
            await to_thread.run_sync(
                partial(ensure_mounted, self._root, one_file_system=self._one_file_system), abandon_on_cancel=True
            )
            excluded, left_out = await to_thread.run_sync(_excluded, self._root, self._exclude)
            walking = partial(walk, root_fd, excluded=excluded, one_file_system=self._one_file_system)
            yield FilesSnapshot(root_fd, files_schema(self._stream), walking, left_out, checksum=self._checksum)


class FilesSnapshot:
    """An open tree: a Snapshot of one stream."""

    def __init__(
        self,
        root_fd: int,
        schema: StreamSchema,
        walking: Callable[[Omitted], Generator[Entry | Unread, None, None]],
        left_out: Sequence[InventoryItem],
        *,
        checksum: bool,
    ) -> None:
        self._root_fd = root_fd
        self._schema = schema
        self._walk = walking
        self._left_out = left_out
        self._checksum = checksum
        self._omitted = Omitted()

    async def omissions(self) -> Sequence[InventoryItem]:
        """Return the special files and excluded paths, which are left out, and the hard links."""
        return [*self._omitted.items(), *self._left_out]

    async def streams(self) -> Sequence[StreamSchema]:
        return (self._schema,)

    def can_count(self, stream: StreamName) -> bool:
        return stream == self._schema.stream

    async def count_stream(self, stream: StreamName) -> RowCount:
        """Count the entries, and the bytes in their files."""
        rows = size = 0
        with closing(self._walk(Unnoted())) as found:
            while batch := await to_thread.run_sync(lambda: list(islice(found, COUNTED_AT_ONCE))):
                entries = [one for one in batch if isinstance(one, Entry)]
                rows += len(entries)
                size += sum(entry.status.st_size for entry in entries if entry.kind is _FILE)
        return RowCount(rows, size)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[FilesBlock | UnreadRows]]:
        if schema.stream != self._schema.stream:
            raise DefectError(f"the files source was asked for the stream {schema.stream!r}, which it does not have")
        self._omitted = Omitted()
        entries = self._walk(self._omitted)
        blocks = self._blocks(entries)
        try:
            yield blocks
        finally:
            await blocks.aclose()
            entries.close()

    async def _blocks(
        self, found: Generator[Entry | Unread, None, None]
    ) -> AsyncGenerator[FilesBlock | UnreadRows, None]:
        while batch := await to_thread.run_sync(lambda: list(islice(found, BLOCK_ENTRIES))):
            for unread, several in groupby(batch, lambda one: isinstance(one, Unread)):
                if unread:
                    for one in several:
                        if isinstance(one, Unread):
                            yield UnreadRows((from_bytes(one.first),), (from_bytes(one.end),), one.reason)
                else:
                    entries = [one for one in several if isinstance(one, Entry)]
                    yield FilesBlock(self._root_fd, entries, await self._check(entries) if self._checksum else None)

    async def _check(self, batch: Sequence[Entry]) -> _Checked:
        """Read the files and directories of a batch that can be read."""
        checked: dict[bytes, tuple[str, int]] = {}

        def read_directories() -> None:
            for entry in batch:
                if entry.kind is Kind.DIRECTORY:
                    with suppress(UnreadableEntryError):
                        checked[entry.path] = "", _directory_attributes(self._root_fd, entry)[0]

        async def read(entries: Sequence[Entry]) -> None:
            found = await to_thread.run_sync(read_contents, self._root_fd, entries)
            for entry, content in zip(entries, found, strict=True):
                with suppress(UnreadableEntryError):
                    if isinstance(content, Content):
                        checked[entry.path] = await self._digest(entry, content), content.mode

        await to_thread.run_sync(read_directories)
        files = [entry for entry in batch if entry.kind is Kind.FILE]
        await for_each(grouped(files, lambda entry: entry.status.st_size), read, at_once=GROUPS_AT_ONCE)
        return checked

    async def _digest(self, entry: Entry, content: Content) -> str:
        return await digest_large(self._root_fd, entry) if content.data is None else blake3(content.data).hexdigest()


class FilesBlock:
    """Consecutive entries of a tree: a RowBlock. `checked` is of its files and directories, None without `checksum`."""

    def __init__(self, root_fd: int, entries: Sequence[Entry], checked: _Checked | None) -> None:
        self._root_fd = root_fd
        self._entries = entries
        self._checked = checked
        self._hashes: bytes | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def digest(self) -> bytes:
        return xxh3_128_digest(self.row_hashes())

    def last_key(self) -> Key:
        return (from_bytes(self._entries[-1].path),)

    def content_bytes(self) -> int:
        return sum(entry.status.st_size for entry in self._entries if entry.kind is _FILE)

    def keys(self) -> Sequence[Key]:
        return [(from_bytes(entry.path),) for entry in self._entries]

    def row_hashes(self) -> bytes:
        """Return a hash an entry, of its status (and of its content's digest, with `checksum`)."""
        if self._hashes is None:
            self._hashes = b"".join([xxh3_64_digest(self._described(entry)) for entry in self._entries])
        return self._hashes

    def _described(self, entry: Entry) -> bytes:
        path, kind, status, target = entry
        mode, digest = stat.S_IMODE(status.st_mode), ""
        if self._checked is not None:
            digest, mode = self._checked.get(path, ("", mode))
            mode &= ~SET_ID  # the inventory of each Movement names the bits that a copy lacks
        numbers = f"|{mode}|{status.st_mtime_ns}"
        if kind is _FILE:
            numbers += f"|{status.st_size}|{digest or status.st_ctime_ns}"
        if mode & SET_ID:
            numbers += f"|{status.st_uid}|{status.st_gid}"
        # Neither a path nor a link's text can hold NUL, the separator.
        return b"\0".join((_NAMES, (kind + numbers).encode(), path, target or b""))

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        """Return one line an entry; the contents of files are stored first, a few at a time."""
        lines: dict[int, bytes] = {}
        await to_thread.run_sync(self._describe_plain, positions, sink, lines)
        files = [position for position in positions if self._entries[position].kind is Kind.FILE]
        groups = grouped(files, lambda position: self._entries[position].status.st_size)

        async def describe(group: Sequence[int]) -> None:
            await self._describe_files(group, sink, lines)

        await for_each(groups, describe, at_once=GROUPS_AT_ONCE)
        return b"".join([lines[position] for position in positions if position in lines])

    def _describe_plain(self, positions: Sequence[int], sink: UpsertSink, lines: dict[int, bytes]) -> None:
        """Add the lines of directories and links."""
        for position in positions:
            with _rejecting(position, sink):
                entry = self._entries[position]
                if entry.kind is Kind.DIRECTORY:
                    lines[position] = _line(entry, entry.status, *_directory_attributes(self._root_fd, entry))
                elif entry.kind is Kind.SYMLINK:
                    lines[position] = _line(entry, entry.status, stat.S_IMODE(entry.status.st_mode), NONE)

    async def _describe_files(self, group: Sequence[int], sink: UpsertSink, lines: dict[int, bytes]) -> None:
        """Store the contents of files, and add their lines."""
        found = await to_thread.run_sync(read_contents, self._root_fd, [self._entries[position] for position in group])
        small = {
            position: content.data
            for position, content in zip(group, found, strict=True)
            if isinstance(content, Content) and content.data is not None
        }
        stored = dict(zip(small, await sink.store_contents(list(small.values())), strict=True))
        for position, content in zip(group, found, strict=True):
            entry = self._entries[position]
            with _rejecting(position, sink):
                if isinstance(content, UnreadableEntryError):
                    raise content
                binary = stored.get(position)
                if binary is None:
                    binary, content = await store_large(self._root_fd, entry, sink.store_binary)
                lines[position] = _line(entry, content.status, content.mode, content.attributes, content.size, binary)


@contextmanager
def _rejecting(position: int, sink: UpsertSink) -> Iterator[None]:
    try:
        yield
    except UnreadableEntryError as error:
        sink.reject(position, str(error))


def _directory_attributes(root_fd: int, entry: Entry) -> tuple[int, Attributes]:
    with entry_errors("the directory", entry.path), directory(root_fd, entry.path) as fd:
        return read_attributes(fd, entry.status)


def _line(
    entry: Entry,
    status: os.stat_result,
    mode: int,
    attributes: Attributes,
    size: int | None = None,
    digest: str | None = None,
) -> bytes:
    if not -(2**63) <= status.st_mtime_ns < 2**63:
        raise UnreadableEntryError(
            f"{shown(entry.path)!r}: its modification time is outside the years 1678 to 2262, which an Event File cannot "
            "hold; set it with 'touch', then run the command again"
        )
    row = {
        "path": to_json(from_bytes(entry.path)),
        "kind": entry.kind,
        "size": size,
        "mode": mode,
        "mtime_ns": status.st_mtime_ns,
        "digest": digest,
        "target": None if entry.target is None else to_json(from_bytes(entry.target)),
        "attributes": attributes.to_json(),
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


def _excluded(root: Path, exclude: Mapping[Path, InventoryItem]) -> tuple[frozenset[bytes], Sequence[InventoryItem]]:
    """Return the paths to leave out, relative to the root, and the items of those that exist."""
    top = root.resolve()
    places = [path.parent.resolve() / path.name for path in exclude]  # a link itself is left out, not what it leads to
    inside = [place.relative_to(top) for place in places if place.is_relative_to(top)]
    items = [item for path, item in exclude.items() if os.path.lexists(path)]
    return frozenset({METADATA_NAME, *(os.fsencode(path) for path in inside)}), items
