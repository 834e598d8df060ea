"""The connections that read the tables of one snapshot: opened when needed, and kept for the next table.

To connect, begin and take the snapshot over takes a server longer than to read a small table.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.session.connection import Connection


class SnapshotConnections:
    """Connections that `join` opens, in transactions that see one snapshot. Each is used by one reader at a time."""

    def __init__(self, join: Callable[[], Connection]) -> None:
        self._join = join
        self._idle: list[Connection] = []

    async def take(self) -> Connection:
        """Return a connection that nobody uses."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()
        return await run_sync(self._join)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next reader; close one that has not read to the end, or has failed."""
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all connections. None may be in use."""
        while self._idle:
            self._idle.pop().close()
