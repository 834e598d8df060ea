"""The port to where the data goes: it loads whole Event Files, and remembers which."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, StreamName

OpenBinary = Callable[[BinaryId], AbstractAsyncContextManager[AsyncIterable[bytes]]]
"""Opens a Binary File's content. The iterator raises DamagedError at its end when the content is not what its id says."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that the destination would not take, set aside while the rest of its file went in.

    `line` is 1-based and counts the header line; `key` is the record's key as JSON text; `reason` is the destination's
    own words, and `column` the column they name, where they name one.
    """

    file: EventFileId
    line: int
    key: str
    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The destination's memory that an Event File has been imported, and what became of its records.

    `movement` is the Movement that imported it (`FileToLoad.movement`), which may be later than the one that stored it.
    """

    upserts: int
    deletes: int
    rejected: int = 0
    binaries: int = 0
    movement: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """The file's records and its mark are committed. `skipped_columns` are columns the destination did not want."""

    mark: Mark
    rejections: tuple[Rejection, ...] = ()
    skipped_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaveWay:
    """Nothing was changed: the file is marked already, or one before it is not marked. Somebody else is at work."""

    reason: str


LoadOutcome = Loaded | GaveWay


@dataclass(frozen=True, slots=True)
class FileToLoad:
    """An Event File on its way in, in the course of Movement number `movement`; a destination writes it into the mark.

    `blocks` gives the record lines after the header, whole lines each ending in a line feed, some hundred kilobytes to
    a few megabytes a block. It raises DamagedError at the latest at its end when bytes, checksum or row count are not
    as the File List and the header say: so a destination commits only after the last block.
    """

    entry: FileEntry
    header: Header
    blocks: AsyncIterable[bytes]
    open_binary: OpenBinary
    movement: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise of the data that does not hold at the destination after the load: a foreign key, a unique index."""

    stream: StreamName
    message: str


class DestinationSession(Protocol):
    """An open destination. Its methods may be called concurrently, for files of different streams.

    Every method raises TransientError (locked: try again), RefusedError (read-only, full) or ConfigurationError (a
    table whose key or shape does not fit), and then has changed nothing.
    """

    async def marks(self) -> Mapping[EventFileId, Mark]:
        """All Event Files of this Flow that are marked here."""
        ...

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Apply one Event File: its records and its mark together, or nothing of either.

        Records apply in line order; upserts and deletes are idempotent. GaveWay, with nothing changed, when the file is
        marked already, or one of `after` is not marked, or a file of the stream was imported in a later Movement than
        `file.movement`: this check and the commit are one atomic step, so a worker that was replaced cannot overwrite
        newer rows. What the stream needs (a table, a new column) is created.

        A record that the destination refuses (constraint, type) is set aside and counted; all others go in. A record
        set aside is remembered with its content, until a later record with its key goes in.

        A destination without transactions applies the rows first and marks last: at-least-once, harmless because
        records are idempotent. Errors of `file.blocks` pass through unchanged.
        """
        ...

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Try again what is still set aside from earlier loads of this Flow; return what still is."""
        ...

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        """After the load of these streams: create what is better made last (indexes), check what can be checked.

        Idempotent. A violation is reported and left as it is; nothing is removed for it.
        """
        ...


class Destination(Protocol):
    """Where the data goes. Constructing one does no I/O."""

    @property
    def location(self) -> str:
        """What a person calls this place: a URL without secrets."""
        ...

    def open(self, flow: FlowName) -> AbstractAsyncContextManager[DestinationSession]:
        """Open the destination for one Flow; make it if it is missing and its parent exists.

        ConfigurationError when it is something else than it should be, RefusedError when it is not writable.
        """
        ...


@runtime_checkable
class MarksReader(Protocol):
    """A Destination that can be asked for its marks without being opened for writing."""

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the Event Files of this Flow that are marked. Creates nothing and takes no lock for writing.

        `wait_seconds` limits each wait, for a lock or for a server. ConfigurationError when there is no such place,
        TransientError when it is locked or does not answer, RefusedError when it is not readable.
        """
        ...
