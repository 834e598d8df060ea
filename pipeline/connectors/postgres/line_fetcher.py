"""Upsert lines of rows whose places are known, fetched in the same snapshot: there a row stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.catalog_types import fetch
from pipeline.connectors.postgres.connection import Connection
from pipeline.connectors.postgres.copying import CopyOut
from pipeline.connectors.postgres.decoding import Place, placed_line
from pipeline.connectors.postgres.errors import translated
from pipeline.connectors.postgres.selects import TableSelect
from pipeline.domain.errors import DefectError

_ROWS = 8000
_BYTES = 64 * 1024 * 1024


class LineFetcher:
    """Fetches lines of one table through `connection`, one thread at a time under `lock`."""

    def __init__(self, connection: Connection, lock: anyio.Lock, select: TableSelect, place: str) -> None:
        self._connection, self._lock, self._select, self._place = connection, lock, select, place
        self._names: dict[int, str] = {}

    async def fetch(self, places: Sequence[Place]) -> bytes:
        """Return the lines of the rows at `places`, in the order given."""
        async with self._lock:
            return await run_sync(self._fetch, places)

    def _fetch(self, places: Sequence[Place]) -> bytes:
        found: dict[Place, memoryview] = {}
        with translated(self._place):
            for table, group in groupby(sorted(places), lambda place: place[0]):
                array = "{" + ",".join([f'"({block},{position})"' for _, block, position in group]) + "}"
                copy = CopyOut(self._connection)
                copy.start(self._select.lines(self._name(table), array))
                while rows := copy.read(_ROWS, _BYTES):
                    found |= {(table, *at): line for at, line in map(placed_line, rows)}
        if len(found) != len(places):
            raise DefectError(f"{self._place}: {len(places) - len(found)} rows are not where the snapshot had them")
        return b"".join([found[place] for place in places])

    def _name(self, table: int) -> str:
        """Return a table's name by its object id, as SQL: of a partition, it is not that of the stream's table."""
        if table not in self._names:
            query = "SELECT format('%%I.%%I', n.nspname, c.relname) AS name FROM pg_class AS c "
            query += "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %s"
            self._names[table] = fetch(self._connection, query, (table,))[0]["name"]
        return self._names[table]
