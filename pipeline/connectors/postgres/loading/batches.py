"""Blocks of an Event File as batches of rows, each for one statement.

Batches are made while previous ones are loaded, so that the server, which takes longer, never waits: all work of Python
on rows is done here, without the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TypeAlias

from pipeline.connectors.postgres.loading.csv_lines import InvalidLine, Lines, Run
from pipeline.connectors.postgres.loading.target import Target
from pipeline.domain.ids import EventFileId

BATCH_BYTES = 4 << 20
"""Bytes of rows for one statement: an upsert of 4 MB takes the server a fifth less time a row than one of 1 MB."""
COPY_BYTES = 3 << 19
"""Bytes of rows for one COPY into the table: three blocks take the server a tenth less time than one COPY for each.

More of them gain nothing. A COPY rejects equal keys, and is then repeated in parts.
"""


@dataclass(frozen=True)
class Origin:
    """A block, and where its lines were read: `where` returns Event File and line number of the line at a place, from 0.

    `named` gives names to values in arrays.
    """

    block: bytes
    where: Callable[[int], tuple[EventFileId, int]]
    named: Callable[[bytes], bytes]

    @cached_property
    def lines(self) -> Sequence[bytes]:
        """The lines without their line feeds, with names."""
        return self.named(self.block).split(b"\n")


@dataclass(frozen=True, slots=True)
class BlockRun:
    """A run and the origin of its records. As a step, it is applied alone (see `Batches`)."""

    run: Run
    origin: Origin


@dataclass(frozen=True, slots=True)
class Batch:
    """Complete rows to load together. `data` has the last row of each key of all runs, in the form of a COPY.

    If keys are ignored, it has all rows.
    """

    runs: Sequence[BlockRun]
    columns: tuple[str, ...]
    data: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class InvalidLines:
    """Lines of a block that cannot become rows."""

    lines: Sequence[InvalidLine]
    origin: Origin


Step: TypeAlias = Batch | BlockRun | InvalidLines
"""The unit in which records are applied."""


class Batches:
    """Makes steps of the blocks of one file, in order, with batches of about `batch_bytes`.

    Deletes, rows that lack columns and rows that may replace each other are steps of their own. `ignores_keys`: the rows
    have no keys that could be equal, or the table rejects those that are.
    """

    def __init__(self, lines: Lines, target: Target, batch_bytes: int, *, ignores_keys: bool) -> None:
        self._lines = lines
        self._target = target
        self._ignores_keys = ignores_keys
        self._batch_bytes = batch_bytes
        self._enough_bytes = 0  # the first block is a batch, so that the server has work at once
        self._runs: list[BlockRun] = []
        self._data: list[bytes] = []
        self._keys: set[object] = set()
        self._bytes = 0

    def add(self, origin: Origin, first_line: int, what: str) -> tuple[int, list[Step]]:
        """Return the number of lines of the block, and the steps that are ready.

        DamagedError that names `what` and the first line that is not JSON, counted from `first_line`.
        """
        decoded = self._lines.decode(origin.block, first_line, what, ignores_keys=self._ignores_keys)
        return decoded.count, list(self._steps(decoded.steps, origin))

    def rest(self) -> Iterator[Step]:
        """Give what is still gathered."""
        if self._runs:
            yield Batch(self._runs, self._runs[0].run.columns, self._data)
            self._runs, self._data, self._keys, self._bytes = [], [], set(), 0
            self._enough_bytes = self._batch_bytes

    def _steps(self, found: Sequence[Run | InvalidLine], origin: Origin) -> Iterator[Step]:
        for _, group in groupby(found, type):
            steps = list(group)
            invalid = [one for one in steps if isinstance(one, InvalidLine)]
            if invalid:
                yield from self.rest()
                yield InvalidLines(invalid, origin)
            for run in steps:
                if isinstance(run, Run):
                    yield from self._gather(run, origin)

    def _gather(self, run: Run, origin: Origin) -> Iterator[Step]:
        if not self._can_be_gathered(run):
            yield from self.rest()
            yield BlockRun(run, origin)
            return
        last, keys = (run, ()) if self._ignores_keys else run.last_of_each_key()
        if not self._keys.isdisjoint(keys):
            yield from self.rest()
        data = last.data
        self._runs.append(BlockRun(run, origin))
        self._data.append(data)
        self._keys.update(keys)
        self._bytes += len(data)
        if self._bytes >= self._enough_bytes:
            yield from self.rest()

    def _can_be_gathered(self, run: Run) -> bool:
        """Whether rows are complete, and can be upserted without deleting any first."""
        target = self._target
        is_complete = run.kind == "upsert" and len(run.columns) == len(target.columns)
        return is_complete and not target.must_replace and (self._ignores_keys or target.row_key is None)
