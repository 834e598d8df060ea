"""Blocks of an Event File as batches of rows that go in by one statement.

They are made while those before them go in, so that the server, which takes longer, has the next one as soon as it is
done with the last: whatever Python does with rows is done here, and asks nothing of the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Protocol, TypeAlias

from pipeline.connectors.postgres.loading.csv_lines import InvalidLine, Lines, Run
from pipeline.connectors.postgres.loading.rejections import RejectReason, unfit
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.sql.rejected_record import RejectedRecord
from pipeline.domain.ids import EventFileId

BATCH_BYTES = 4 << 20
"""How many bytes of rows go in by one statement: an upsert of 4 MB takes the server a fifth less time a row than one of 1 MB."""


class Origin(Protocol):
    """Where the records of a block come from."""

    def where(self, place: int) -> tuple[EventFileId, int]:
        """Return the file and the line of the record at this place of the block."""
        ...

    def record(self, place: int) -> bytes:
        """Return the record's line."""
        ...


@dataclass(frozen=True)
class BlockOrigin:
    """A block of a file whose first line has the number `first_line`."""

    file: EventFileId
    first_line: int
    block: bytes

    @cached_property
    def _lines(self) -> list[bytes]:
        return self.block.split(b"\n")

    def where(self, place: int) -> tuple[EventFileId, int]:
        return self.file, self.first_line + place

    def record(self, place: int) -> bytes:
        return self._lines[place]


@dataclass(frozen=True, slots=True)
class RejectedOrigin:
    """Records that were set aside before."""

    items: Sequence[RejectedRecord]

    def where(self, place: int) -> tuple[EventFileId, int]:
        rejection = self.items[place].rejection
        return rejection.file, rejection.line

    def record(self, place: int) -> bytes:
        return self.items[place].record


@dataclass(frozen=True, slots=True)
class Member:
    """A run, and where its records come from."""

    run: Run
    origin: Origin


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole rows to put in together. `data` holds them in the form of a COPY.

    They are the last row of each key of all `members`; or all rows, where they go in as they come.
    """

    members: Sequence[Member]
    columns: tuple[str, ...]
    data: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class RejectedMember:
    """Lines of a block that can become no row, by their places, and why."""

    lines: Sequence[tuple[int, RejectReason]]
    origin: Origin


Step: TypeAlias = Batch | Member | RejectedMember
"""What is to be done next. A Member goes in by itself: deletes, rows that lack columns, rows that take each other's place."""


class Batches:
    """Makes batches of the blocks of one file, in order, of `batch_bytes` of rows or, with 0, of each block.

    `as_they_come`: its rows have no keys that could meet, or the table refuses those that do.
    """

    def __init__(self, lines: Lines, target: Target, *, batch_bytes: int, as_they_come: bool) -> None:
        self._lines = lines
        self._target = target
        self._as_they_come = as_they_come
        self._batch_bytes = batch_bytes
        self._enough_bytes = 0  # the first block goes at once, so that the server has something to do
        self._members: list[Member] = []
        self._data: list[bytes] = []
        self._keys: set[object] = set()
        self._bytes = 0

    def add(self, block: bytes, first_line: int, what: str, origin: Origin) -> tuple[int, list[Step]]:
        """Return how many lines the block has, and what is ready to be done.

        DamagedError that names `what` and the first line that is not JSON, counted from `first_line`.
        """
        decoded = self._lines.decode(block, first_line, what)
        return decoded.count, list(self._steps(decoded.steps, origin))

    def rest(self) -> Iterator[Step]:
        """Give what is still gathered."""
        if self._members:
            yield Batch(self._members, self._members[0].run.columns, self._data)
            self._members, self._data, self._keys, self._bytes = [], [], set(), 0
            self._enough_bytes = self._batch_bytes

    def _steps(self, found: Sequence[Run | InvalidLine], origin: Origin) -> Iterator[Step]:
        for is_run, group in groupby(found, lambda one: isinstance(one, Run)):
            runs = list(group)
            if not is_run:
                yield from self.rest()
                yield RejectedMember(
                    [(one.place, unfit(one.error)) for one in runs if isinstance(one, InvalidLine)], origin
                )
            for run in runs:
                if isinstance(run, Run):
                    yield from self._gather(run, origin)

    def _gather(self, run: Run, origin: Origin) -> Iterator[Step]:
        if not self._can_be_gathered(run):
            yield from self.rest()
            yield Member(run, origin)
            return
        last, keys = (run, ()) if self._as_they_come else run.last_of_each_key()
        if not self._keys.isdisjoint(keys):
            yield from self.rest()
        data = last.data
        self._members.append(Member(run, origin))
        self._data.append(data)
        self._keys.update(keys)
        self._bytes += len(data)
        if self._bytes >= self._enough_bytes:
            yield from self.rest()

    def _can_be_gathered(self, run: Run) -> bool:
        """Whether rows are whole, and may meet those that are there without one waiting for another to go."""
        target = self._target
        is_whole = run.kind == "upsert" and len(run.columns) == len(target.columns)
        return is_whole and not target.must_replace and (self._as_they_come or target.row_key is None)
