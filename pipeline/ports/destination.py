"""The port to a destination: it loads whole Event Files and remembers which ones it has loaded."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, StreamName
from pipeline.domain.inventory import InventoryItem

OpenBinary = Callable[[BinaryId], AbstractAsyncContextManager[AsyncIterable[bytes]]]
"""Opens the content of a Binary File. The iterator raises DamagedError at its end if the content does not match."""


ReadContents = Callable[[Sequence[BinaryId]], Awaitable[Mapping[BinaryId, bytes]]]
"""Returns those of some small contents that are stored together, verified as `OpenBinary` does: cheaper than one by one.

The others are to be opened: which are returned is the store's choice, but never more than some megabytes.
"""


async def no_contents(binaries: Sequence[BinaryId]) -> Mapping[BinaryId, bytes]:
    """The `ReadContents` of a store that keeps each content alone."""
    return {}


NoteBusy = Callable[[str, bool], None]
"""Says that something takes long, in words, and later (True) that it is over."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that the destination rejected while it loaded the rest of the file.

    `line` is 1-based and counts the header line. `key` is the record's key as JSON text. `reason` is in the
    destination's words; `column` is the column that they name, if any. `waits`: nothing is wrong with the record, which
    is applied once another record has an id at the destination.
    """

    file: EventFileId
    line: int
    key: str
    reason: str
    column: str | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """The destination's memory that an Event File was imported, with counts of its records.

    `movement` is the Movement that imported the file (`FileToLoad.movement`). It may be later than the one that stored
    it.
    """

    upserts: int
    deletes: int
    rejected: int = 0
    binaries: int = 0
    movement: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """The records of a file and its mark are committed. The destination has no place for `skipped_columns`."""

    mark: Mark
    rejections: tuple[Rejection, ...] = ()
    skipped_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaveWay:
    """Nothing was changed: another worker is ahead of this one. `reason` says how."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """Nothing was loaded. The destination has changed its table so that it can hold the file, which is to be loaded again.

    A destination MUST NOT answer so without end: each time, its table holds values that it did not hold before.
    """


LoadOutcome = Loaded | GaveWay | Reopen


@dataclass(frozen=True, slots=True)
class FileToLoad:
    """An Event File to load in Movement number `movement`, which the destination writes into the mark.

    `blocks` yields the record lines after the header: whole lines, each ending in a line feed, some hundred kilobytes
    to a few megabytes a block. It raises DamagedError, at its end at the latest, when bytes, checksum or row count
    differ from the File List and the header. So a destination MUST NOT commit before the last block.

    `original_movement` is the Movement that this one runs again, 0 if none. Once `stopping` returns True, the Movement is to
    pause or to stop after this file. `note_busy` keeps the Movement from being taken for one in which nothing moves.
    `note_commit` takes the seconds of the commit, which a destination SHOULD wrap in `committing`. A destination MAY count in
    `opened` which Binary Files it has opened for its records.
    """

    entry: FileEntry
    header: Header
    blocks: AsyncIterable[bytes]
    open_binary: OpenBinary
    movement: int = 0
    original_movement: int = 0
    stopping: Callable[[], bool] = lambda: False
    note_busy: NoteBusy = lambda text, is_over: None
    note_commit: Callable[[float], None] = lambda seconds: None
    read_contents: ReadContents = no_contents
    opened: set[BinaryId] = field(default_factory=set)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Time the block, which commits the records and the mark."""
        begun = time.monotonic()
        yield
        self.note_commit(time.monotonic() - begun)


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint of the source, such as a foreign key or a unique index, that the loaded data does not satisfy.

    `columns` are those of a foreign key that rows break: the source's own rows may break it, too.
    """

    stream: StreamName
    message: str
    columns: tuple[str, ...] = ()


class DestinationSession(Protocol):
    """An open destination. Its methods may be called concurrently, for files of different streams.

    Every method raises TransientError (locked: try again), RefusedError (read-only, full) or ConfigurationError (a
    table whose key or columns do not match), and then has changed nothing.
    """

    async def marks(self) -> Mapping[EventFileId, Mark]:
        """Return the marks of all Event Files of this Flow."""
        ...

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Apply one Event File: its records and its mark together, or neither.

        Records apply in line order; upserts and deletes are idempotent. Return GaveWay, with nothing changed, when the
        file is marked already, when one of `after` is not marked, when `file.movement` is fenced, or when a later Movement
        than that has imported a file of the stream. This check and the commit MUST be one atomic step, so that a worker
        that was replaced cannot overwrite newer rows. What the stream needs (a table, a new column) is created.

        A record that the destination does not accept (constraint, type) is rejected and counted; all others are loaded.
        A rejected record is remembered with its content until a later record with its key is loaded.

        A destination without transactions applies the rows first and the mark last: at-least-once, which is harmless
        because records are idempotent. Errors of `file.blocks` pass through unchanged.
        """
        ...

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Load the rejected records of this Flow again; return those that are still rejected.

        It MAY leave out those of which it knows that they would be rejected again, and MUST try every other one.
        The marks of their files SHOULD count those that are accepted now: as upserts, and no longer as rejected.
        """
        ...

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        """Complete the load of these streams: create indexes and constraints, and check what can be checked.

        Idempotent. A violation is returned; the rows stay as they are.
        """
        ...


@runtime_checkable
class ArrayLoader(Protocol):
    """A DestinationSession that also loads upserts that are arrays of values."""

    def takes_arrays(self, stream: StreamName) -> bool:
        """Return whether the blocks of a file of this stream may have arrays, as the file is stored."""
        ...


def takes_arrays(session: DestinationSession, stream: StreamName) -> bool:
    """Return whether a session loads upserts of this stream that are arrays."""
    return isinstance(session, ArrayLoader) and session.takes_arrays(stream)


@runtime_checkable
class SchemaKeeper(Protocol):
    """A DestinationSession that keeps the schema objects of the source: views, functions, triggers, sequences.

    They arrive as records of the stream `SCHEMA_STREAM`, which such a session loads like any other.
    """

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        """Make the objects as the source has them, as far as the destination can; return what became of each.

        Idempotent. Called at the end of every Movement, after `finish`. `rows_changed`: the Movement has imported
        something. An object that the Flow did not create is neither replaced nor dropped.
        """
        ...


Choose = Callable[[Rejection], bool]
"""Returns whether a rejected record is chosen."""


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A rejected record with its content: the JSON line of the Event File, without a line feed; and its key's columns."""

    rejection: Rejection
    record: bytes
    key_columns: tuple[str, ...] = ()


@runtime_checkable
class RejectedKeeper(Protocol):
    """A DestinationSession whose rejected records can be listed, retried one by one, and corrected."""

    async def rejected(self) -> Sequence[KeptRecord]:
        """Return the rejected records of the Flow."""
        ...

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        """Load the chosen rejected records again, in the order of each key; return all that are still rejected.

        Also those that `retry_rejected` would leave out.
        """
        ...

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        """Give rejected records another content; nothing is loaded. Return how many are still rejected, and have it now.

        A record whose key has been loaded meanwhile is left out: the newer version wins. ConfigurationError when such
        records can be corrected at the source alone.
        """
        ...


@runtime_checkable
class ContentReader(Protocol):
    """A DestinationSession that needs contents of Binary Files when it applies rejected records again."""

    def open_contents_by(self, open_binary: OpenBinary) -> None:
        """Open contents with this function from now on. Called before rejected records are applied again."""
        ...


@runtime_checkable
class Fencing(Protocol):
    """A DestinationSession that can refuse the loads of a Movement that was stopped, whichever process they come from."""

    async def fence(self, movement: int) -> None:
        """From now on, no file is loaded in the course of this Movement of the Flow, or of an earlier one.

        A load that has not committed when this returns gives way, or fails. Idempotent; a fence is never lowered.
        TransientError when a load in hand keeps the place locked: nothing is fenced then.
        """
        ...


@runtime_checkable
class FlowFencing(Protocol):
    """A Destination that can be fenced without being opened: what it keeps of a Flow is elsewhere."""

    async def fence_flow(self, flow: FlowName, movement: int) -> Mapping[EventFileId, Mark]:
        """Fence the Flow as `Fencing.fence` does, and return the marks that it has behind the fence."""
        ...


@runtime_checkable
class LoadHistory(Protocol):
    """A DestinationSession that knows which streams were loaded by Flows of one name, also before one was created again."""

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        """Return these streams. `flow` is the name alone, without the time of creation."""
        ...


@runtime_checkable
class StreamPlanner(Protocol):
    """A DestinationSession that takes some streams only, and some of them only after others."""

    async def plan_streams(self, present: Sequence[StreamName], chosen: Sequence[StreamName]) -> None:
        """Name the streams that it will not take. Called before anything is moved.

        `present` are all streams of the source that hold rows of the app, `chosen` those to be moved. ConfigurationError
        when it takes none of them.
        """
        ...

    def predecessors(self, stream: StreamName) -> Sequence[StreamName]:
        """Return the streams that must be imported before this one. They MUST NOT form a circle."""
        ...


class Destination(Protocol):
    """The place that data is written to. Constructing one does no I/O."""

    @property
    def location(self) -> str:
        """The name of the place for people: a URL without secrets."""
        ...

    def open(self, flow: FlowName) -> AbstractAsyncContextManager[DestinationSession]:
        """Open the destination for one Flow. Create it if it does not exist but its parent does.

        ConfigurationError when the place is of another kind, RefusedError when it is not writable.
        """
        ...


@runtime_checkable
class MarksReader(Protocol):
    """A Destination whose marks can be read without opening it for writing."""

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of all Event Files of this Flow. MUST NOT create anything or take a lock for writing.

        `wait_seconds` limits each wait for a lock or a server. ConfigurationError when the place does not exist,
        TransientError when it is locked or does not answer, RefusedError when it is not readable.
        """
        ...
