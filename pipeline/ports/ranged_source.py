"""An optional capability of a snapshot: to read along key ranges that the caller knows from an earlier read.

A source without it works just as well. One that has it can end its blocks where the known ranges end, so that unchanged
ranges are recognised by their digest alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import RowBlock, Snapshot, UnreadRows


@dataclass(frozen=True, slots=True)
class KnownRange:
    """Rows that the caller knows: those up to `until`, with the hash of each in key order.

    With a `digest`, the source MAY answer `UnchangedRows` for a block that has it.
    """

    until: Key
    hashes: bytes = b""
    digest: bytes | None = None


Known = Callable[[int], KnownRange | None]
"""Returns the current known range (0), the one after it (1), …; None where none is known.

Call it when a block is begun, in the task that iterates over the blocks.
"""


@dataclass(frozen=True, slots=True)
class UnchangedRows:
    """The rows of the current known range, as they were: they have its `digest`."""

    rows: int
    digest: bytes
    last_key: Key

    def __len__(self) -> int:
        return self.rows


@runtime_checkable
class RangedSnapshot(Snapshot, Protocol):
    """A Snapshot that can read along known ranges."""

    def open_rows_along(
        self, schema: StreamSchema, known: Known
    ) -> AbstractAsyncContextManager[AsyncIterable[RowBlock | UnchangedRows | UnreadRows]]:
        """Open the same rows as `open_rows`, in blocks that end where the known ranges end.

        A block ends with the last row whose key is not after `known(0).until`, unless it would be too large or empty.
        """
        ...


def open_rows_along(
    snapshot: Snapshot, schema: StreamSchema, known: Known
) -> AbstractAsyncContextManager[AsyncIterable[RowBlock | UnchangedRows | UnreadRows]]:
    """Open rows along the known ranges if the snapshot can do so, and from the first key on otherwise."""
    if isinstance(snapshot, RangedSnapshot):
        return snapshot.open_rows_along(schema, known)
    return snapshot.open_rows(schema)
