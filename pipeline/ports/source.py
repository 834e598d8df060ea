"""The port to a source: a consistent view of an app's data, stream by stream, in key order."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.domain.errors import TransientError
from pipeline.domain.ids import BinaryId, FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.object_store import ObjectStore, OpenBody

ROW_HASH_BYTES = 8
DIGEST_BYTES = 16


class ChangedContentError(TransientError):
    """A content was another one when it was read again."""


StoreBinary = Callable[[OpenBody], Awaitable[BinaryId]]
"""Stores the content that the argument opens as a Binary File, unless it is stored already; returns its id.

The body is opened twice: to compute its id, and to store it. ChangedContentError when the two reads differ.
"""

StoreContents = Callable[[Sequence[bytes]], Awaitable[Sequence[BinaryId]]]
"""Stores contents that are in memory, each as `StoreBinary` does; returns their ids in the same order."""


class ReadProgress(Protocol):
    """Observes how a source that reads rows before it gives them comes along. Its methods return at once."""

    def expect(self, stream: StreamName, rows: int) -> None:
        """Note that this Movement reads about `rows` rows of a stream. A later number replaces it."""
        ...

    def read(self, stream: StreamName, rows: int) -> None:
        """Note that `rows` more rows were read, which are not given yet."""
        ...


class ContentStore(Protocol):
    """Stores Binary Files before the rows that name them are given."""

    async def store(self, open_body: OpenBody) -> BinaryId:
        """Store a content as `StoreBinary` does. Durable once `flush` has returned."""
        ...

    async def flush(self) -> None:
        """Make all stored contents durable."""
        ...


@dataclass(frozen=True, slots=True)
class MovementScope:
    """The Movement for which a snapshot is read: where what is read is kept, and who observes it.

    `contents` stores the Binary Files of rows that are kept.
    """

    store: ObjectStore
    flow: FlowName
    movement: int
    contents: ContentStore
    progress: ReadProgress


@dataclass(frozen=True, slots=True)
class RowRejection:
    """Why a source cannot give a row, and what to do; with the column at fault, if it is one."""

    reason: str
    column: str | None = None


class UpsertSink:
    """Takes what one call of `RowBlock.upserts` gives beside its lines. `rejected` holds the rejected rows by position."""

    def __init__(self, store_binary: StoreBinary, store_contents: StoreContents | None = None) -> None:
        self.store_binary = store_binary
        self._store_contents = store_contents
        self.rejected: dict[int, RowRejection] = {}

    async def store_contents(self, contents: Sequence[bytes]) -> Sequence[BinaryId]:
        """Store contents that are in memory, and return their ids: cheaper for many small ones than one by one."""
        if self._store_contents is not None:
            return await self._store_contents(contents)
        return [await self.store_binary(_opening(content)) for content in contents]

    def reject(self, position: int, reason: str, column: str | None = None) -> None:
        """Leave out the row at this position of the block, which cannot be given. The others are moved.

        The row is tried again in the next Movement. What the destination has of it stays as it is.
        """
        self.rejected[position] = RowRejection(reason, column)


def _opening(content: bytes) -> OpenBody:
    async def pieces() -> AsyncIterator[bytes]:
        if content:
            yield content

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield pieces()

    return open_body


class HashedBlock(Protocol):
    """Consecutive rows of one stream, in key order, that can be compared with other rows but have no values to give.

    Keys and hashes are computed when asked for: most blocks of most Movements are unchanged, which their digest shows.
    """

    def __len__(self) -> int:
        """Return the number of rows, at least 1."""
        ...

    def digest(self) -> bytes:
        """Return `DIGEST_BYTES` for all rows. MUST be cheap: compute it with the block.

        Equal rows in equal order MUST have equal digests, in every process and release. Rows that differ in content or
        number have different digests, except with a chance of 2**-128 (2**-64 a row when made from row hashes).
        """
        ...

    def last_key(self) -> Key:
        """Return the last of the keys, without computing the others."""
        ...

    def keys(self) -> Sequence[Key]:
        """Return the key of each row, strictly ascending by `keys.order` within the block and from block to block."""
        ...

    def row_hashes(self) -> bytes:
        """Return `ROW_HASH_BYTES` a row, in order. Equal rows MUST have equal hashes, in every process and release.

        The hash covers all that an upsert of the row would carry, column names included.
        """
        ...


@runtime_checkable
class RowBlock(HashedBlock, Protocol):
    """Some hundred to some thousand consecutive rows of one stream, in key order, with their values."""

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        """Return one upsert line for each row at these ascending positions, each ending in a line feed.

        A row that cannot be given, while others can (its file is unreadable, a value is too large or has no form in an
        Event File), MUST be passed to `sink.reject`, and has no line. Contents that a row refers to are stored through
        `sink.store_binary` before this returns. TransientError when the source changed during the read and a second read
        would help.
        """
        ...


@runtime_checkable
class ArrayRowBlock(RowBlock, Protocol):
    """A RowBlock that can also give its rows as arrays of values."""

    async def upsert_arrays(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        """Return what `upserts` returns, but with the values of a row in an array, in the order of the schema's columns."""
        ...


@dataclass(frozen=True, slots=True)
class UnreadRows:
    """Rows with keys from `first` on and before `end` that cannot be read, and why: a directory that may not be listed.

    There may be any number of them. What the destination has of them stays as it is.
    """

    first: Key
    end: Key
    reason: str

    def __len__(self) -> int:
        """Return how many rows are known, 0."""
        return 0


class Snapshot(Protocol):
    """One state of the source. All streams read from it belong together, as far as the technology can guarantee it.

    A snapshot MAY offer more: see `RangedSnapshot`.
    """

    async def streams(self) -> Sequence[StreamSchema]:
        """Return all streams, ordered by name."""
        ...

    def open_rows(self, schema: StreamSchema) -> AbstractAsyncContextManager[AsyncIterable[RowBlock | UnreadRows]]:
        """Open the rows of one of `streams()`, from the first key on, in blocks of bounded memory (a few megabytes).

        In the place of rows that cannot be read, while others can, come `UnreadRows`.

        UnreadableError, here or while it is read, when this stream cannot be read for a reason of its own (a missing
        privilege or function, a damaged table), while others can. An error that concerns the whole place (connection
        lost, locked, disk full) MUST be another one: it ends the attempt.
        """
        ...


@runtime_checkable
class OmissionReporter(Protocol):
    """A Snapshot that names what the source has and its rows do not give: foreign tables, sockets, functions in C."""

    async def omissions(self) -> Sequence[InventoryItem]:
        """Return the items, none of them MOVED. Called after the rows of all streams have been read."""
        ...


@runtime_checkable
class ScopedSnapshot(Protocol):
    """A Snapshot whose author says what kinds of data its streams hold, and which shape they have."""

    def scopes(self) -> Mapping[StreamName, Sequence[str]]:
        """Return the kinds of data of each stream, such as "pii"."""
        ...

    def contract(self) -> str:
        """Return the name and version of the shape of the data; empty if there is none."""
        ...


@runtime_checkable
class WholeListJudge(Protocol):
    """A Snapshot that knows when its source has, or may have, more rows than it gave."""

    def is_whole(self, stream: StreamName) -> bool:
        """Return whether all rows of a stream were given, as far as is known after the last. If not, none is deleted.

        Called also for streams that earlier Movements have moved and that the Snapshot lacks.
        """
        ...


@runtime_checkable
class RowEstimator(Protocol):
    """A Snapshot that can say at once about how many rows its streams have."""

    async def row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        """Return the estimates that there are. MUST be cheap: no table is read."""
        ...


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows a stream has, and how many bytes the contents have that they name; None if that is not known."""

    rows: int
    content_bytes: int | None = None


@runtime_checkable
class RowCounter(Protocol):
    """A Snapshot that can count the rows of a stream beside their export, much faster than that goes."""

    def can_count(self, stream: StreamName) -> bool:
        """Whether this stream can be counted."""
        ...

    async def count_stream(self, stream: StreamName) -> RowCount:
        """Count the rows of a stream. It MAY be cancelled at any time."""
        ...


@runtime_checkable
class ContentBlock(Protocol):
    """A block that knows the contents of its rows without reading them."""

    def content_bytes(self) -> int:
        """Return how many bytes the contents have that its rows name."""
        ...


@runtime_checkable
class DefinitionReader(Protocol):
    """A Snapshot that also says what its tables have beside rows: indexes, constraints, defaults, generated columns."""

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        """Return the definitions of each stream by kind and name, for a place of the same technology to be compared with.

        Another place has a definition if it has one of that name, or one of that text.
        """
        ...


@runtime_checkable
class ReferenceChecker(Protocol):
    """A Snapshot whose own rows may break its foreign keys, and that can check them."""

    async def broken_references(self, streams: Sequence[StreamName]) -> Set[tuple[StreamName, tuple[str, ...]]]:
        """Return stream and columns of each foreign key of these streams that a row breaks. It may read all rows."""
        ...


@runtime_checkable
class RowFetcher(Protocol):
    """A Snapshot whose rows of a stream may miss some that exist, and that can be asked for single ones."""

    async def fetch_rows(self, schema: StreamSchema, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Return the upsert lines of those rows that exist. Empty for a stream that misses none, or cannot be asked."""
        ...


class Source(Protocol):
    """The place that data is read from. Constructing one does no I/O."""

    @property
    def location(self) -> str:
        """The name of the place for people: a URL without secrets. Two sources of one place have equal locations."""
        ...

    def open_snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Open a consistent view. It MUST NOT hinder writers to the source.

        ConfigurationError when the place does not exist or is of another kind; TransientError when it is locked;
        DamagedError when it is corrupt. Each names the place.
        """
        ...


@runtime_checkable
class ResumableSnapshot(Protocol):
    """A Snapshot that keeps in the object store what it has read, so that another attempt carries on from there."""

    async def begin_movement(self, scope: MovementScope) -> None:
        """Keep under the prefix of the Flow what is read for this Movement. Called before the first rows are opened."""
        ...

    async def end_movement(self) -> None:
        """Delete what only this Movement and earlier ones need. Called after all is exported; it MAY not be called."""
        ...


async def has_rows(snapshot: Snapshot, schema: StreamSchema) -> bool:
    """Return whether a stream has a row, or some that cannot be read."""
    async with snapshot.open_rows(schema) as blocks:
        async for _ in blocks:
            return True
    return False


async def count_rows(snapshot: Snapshot, schema: StreamSchema) -> int:
    """Return the number of rows of a stream that can be read. Reads all of them."""
    async with snapshot.open_rows(schema) as blocks:
        return sum([len(block) async for block in blocks])
