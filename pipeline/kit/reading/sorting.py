"""Sorting rows on disk, in bounded memory: runs of sorted rows are written, and merged when they are read."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from operator import itemgetter
from typing import BinaryIO

from pipeline.domain.keys import Key
from pipeline.kit.reading.encoding import EncodedRow, new_row

RUN_BYTES = 24_000_000
"""Lines that are kept in memory before a run is written. With keys and objects, some 60 MB of memory."""
MERGED_RUNS = 64
"""Runs that are merged at a time, each with a file that is open."""
_BATCH = 500
_KEY = itemgetter(0)
_AS_TUPLE = itemgetter(slice(None))


class RowSorter:
    """Sorts rows by key; of rows with one key, the one added last counts. Methods block: call them in a thread."""

    def __init__(self, run_bytes: int = RUN_BYTES) -> None:
        self._run_bytes = run_bytes
        self._rows: list[EncodedRow] = []
        self._bytes = 0
        self._runs: list[BinaryIO] = []
        self._files = ExitStack()

    def close(self) -> None:
        """Remove the runs from the disk."""
        self._files.close()

    def add(self, rows: Sequence[EncodedRow]) -> None:
        """Add rows, in any order."""
        self._rows += rows
        self._bytes += sum([len(row.line) for row in rows])
        if self._bytes >= self._run_bytes:
            self._write_run(sorted(self._rows, key=_KEY))
            self._rows, self._bytes = [], 0

    def sorted_rows(self) -> Iterator[EncodedRow]:
        """Return all rows in ascending order of their keys, each key once."""
        entries = self.entries()
        last = next(entries, None)
        if last is None:
            return
        for entry in entries:
            if entry[0] != last[0]:
                yield new_row(last)
            last = entry
        yield new_row(last)

    def entries(self) -> Iterator[tuple[Key, bytes]]:
        """Return the keys and lines of all rows in ascending order; those of one key in the order in which they came."""
        return heapq.merge(
            *map(_read_run, self._runs),
            sorted(self._rows, key=_KEY),
            key=_KEY,
        )

    def _write_run(self, rows: Sequence[EncodedRow]) -> None:
        if len(self._runs) == MERGED_RUNS:
            merged = heapq.merge(*map(_read_run, self._runs), key=_KEY)
            self._runs, old = [], self._runs
            self._runs.append(self._written(merged))
            for file in old:
                file.close()
        self._runs.append(self._written(rows))

    def _written(self, entries: Iterable[tuple[Key, bytes]]) -> BinaryIO:
        file = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        left = map(_AS_TUPLE, entries)  # which are read again in a third of the time
        while batch := list(islice(left, _BATCH)):
            pickle.dump(batch, file, pickle.HIGHEST_PROTOCOL)
        return file


def _read_run(file: BinaryIO) -> Iterator[tuple[Key, bytes]]:
    file.seek(0)
    while True:
        try:
            yield from pickle.load(file)
        except EOFError:
            return
