"""A block of rows of a table: its digest at hand, keys and hashes made, lines at hand or fetched when asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pipeline.connectors.postgres.decoding import Decoded, Place, place
from pipeline.domain.keys import Key
from pipeline.ports.source import StoreBinary

FetchLines = Callable[[Sequence[Place]], Awaitable[bytes]]
"""Returns the upsert lines of the rows at these places, in the order given."""

_HIGH = 0.3
"""From this part of all rows on, making every line while reading costs less than fetching those that are wanted."""


@dataclass(slots=True)
class Demand:
    """How many rows of a table were read, and of how many of them the lines were asked for."""

    read: int = 0
    asked: int = 0

    @property
    def is_high(self) -> bool:
        """Whether lines have been asked for of most of what was read."""
        return self.asked > _HIGH * self.read


class PostgresRowBlock:
    """Consecutive rows of one table.

    With their `lines`, or with their `rows`, whose places `fetch_lines` makes lines of.
    """

    def __init__(
        self,
        decoded: Decoded,
        demand: Demand,
        *,
        lines: Sequence[memoryview] = (),
        rows: Sequence[memoryview] = (),
        fetch_lines: FetchLines | None = None,
    ) -> None:
        self._keys, self._digest, self._hashes = decoded.keys(), decoded.digest(), decoded.row_hashes()
        self._demand = demand
        self._lines, self._rows, self._fetch_lines = lines, rows, fetch_lines
        self._is_counted = False

    def __len__(self) -> int:
        return len(self._keys)

    def digest(self) -> bytes:
        self._count()
        return self._digest

    def last_key(self) -> Key:
        return self._keys[-1]

    def keys(self) -> Sequence[Key]:
        self._count()
        return self._keys

    def row_hashes(self) -> bytes:
        return self._hashes

    def _count(self) -> None:
        """A block that was read ahead counts once somebody looks at it."""
        if not self._is_counted:
            self._is_counted = True
            self._demand.read += len(self)

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        self._demand.asked += len(positions)
        if not positions:
            return b""
        if self._fetch_lines is not None:
            return await self._fetch_lines([place(self._rows[at]) for at in positions])
        if len(positions) == len(self._lines):
            return b"".join(self._lines)
        return b"".join([self._lines[at] for at in positions])
