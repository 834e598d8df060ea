"""The destination's connections: opened when they are needed, kept for the next call, given up when they are lost."""

from __future__ import annotations

import selectors
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psycopg
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.session.connection import Connection, connect
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import PostgresLocation

APPLICATION_NAME = "pipeline destination"
_REPLICA = "SET session_replication_role = replica"

TEMP_BUFFERS = "32MB"
"""The most memory of the server in which a session keeps temporary tables: room for a batch of rows on the way in.

What does not fit is written to files and read again. It is taken when it is needed, and cannot be changed from then on.
"""


class Connections:
    """At most `limit` connections to one database, each used by one call at a time."""

    def __init__(self, location: PostgresLocation, *, limit: int, lock_timeout_seconds: float) -> None:
        self._location = location
        self._lock_timeout_seconds = lock_timeout_seconds
        self._room = anyio.CapacityLimiter(limit)
        self._idle: list[Connection] = []
        self.as_replica = False

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """Lend a connection outside of any transaction. What is left of one afterwards is rolled back."""
        async with self._room:
            connection = self._usable()
            if connection is None:
                connection = await run_sync(self._connect)
            try:
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(self._take_back, connection)

    def _usable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            connection.close()
        return None

    def _connect(self) -> Connection:
        connection = connect(
            self._location,
            application_name=APPLICATION_NAME,
            lock_timeout_seconds=self._lock_timeout_seconds,
            settings={"temp_buffers": TEMP_BUFFERS},
        )
        try:
            with translated(self._location.url):
                self.as_replica = _become_replica(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_back(self, connection: Connection) -> None:
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:  # whatever it is, the server ends the transaction with the connection
            connection.close()
        if not connection.closed:
            self._idle.append(connection)

    def close(self) -> None:
        """Close all of them. None may be lent."""
        while self._idle:
            self._idle.pop().close()


def _is_quiet(connection: Connection) -> bool:
    """Whether nothing has come from the server: to an idle connection it has nothing to say but that it is gone."""
    if connection.closed:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return not selector.select(timeout=0)


def _become_replica(connection: Connection) -> bool:
    """Let rows in as they are, if we may: no trigger changes them, and foreign keys are checked at the end (`finishing`).

    It is what logical replication and pg_restore --disable-triggers do. Superusers may, and those to whom SET ON PARAMETER
    session_replication_role is granted (PostgreSQL 15).
    """
    try:
        connection.execute(_REPLICA)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
