"""The connections of a destination: opened when needed, kept for the next call, replaced when lost.

`psycopg_pool.ConnectionPool` connects in threads of its own and retries there, so that a wrong password or an
unreachable server only shows as a time-out without a cause. Its `NullConnectionPool` raises the cause, but opens a
connection for every call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psycopg
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.session.connection import Connection, connect
from pipeline.connectors.postgres.session.errors import translate
from pipeline.connectors.postgres.session.location import PostgresLocation

APPLICATION_NAME = "pipeline destination"
MAX_CONNECTIONS = 8
"""How many calls use the database at once: more than the cores of most servers, fewer than their connections."""


class ConnectionPool:
    """At most `MAX_CONNECTIONS` connections to one database, each used by one call at a time.

    `as_replica`, known once a connection is open: triggers do not fire and foreign keys are not enforced
    (`session_replication_role`, as logical replication and pg_restore --disable-triggers set it). Superusers may set it,
    and users with GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15).
    """

    def __init__(self, location: PostgresLocation) -> None:
        self._location = location
        self._limiter = anyio.CapacityLimiter(MAX_CONNECTIONS)
        self._idle: list[Connection] = []
        self.as_replica = False

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """Lend a connection outside of any transaction. A transaction that is left open is rolled back."""
        async with self._limiter:
            idle = self._pop_usable()
            connection = await run_sync(self._connect) if idle is None else idle
            try:
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(self._take_back, connection)

    def _pop_usable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def _connect(self) -> Connection:
        connection = connect(self._location, APPLICATION_NAME)
        try:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.set_in_transactions({"session_replication_role": "replica"})
        except psycopg.errors.InsufficientPrivilege:
            self.as_replica = connection.execute("SHOW session_replication_role").fetchone() == ("replica",)
        except psycopg.Error as error:
            connection.close()
            raise translate(error, self._location.url) from error
        else:
            self.as_replica = True
        return connection

    def _take_back(self, connection: Connection) -> None:
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:  # the server ends the transaction with the connection
            connection.close()
        if not connection.closed:
            self._idle.append(connection)

    def close(self) -> None:
        """Close all connections. None may be lent out."""
        while self._idle:
            self._idle.pop().close()
