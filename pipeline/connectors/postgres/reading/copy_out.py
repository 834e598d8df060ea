"""COPY TO STDOUT, read row by row as bytes, in worker threads that can be stopped.

psycopg's own `copy.rows()` takes longer for a row than the server does; here a row is one call of libpq.
"""

from __future__ import annotations

import selectors
import threading
from collections.abc import Callable

from psycopg import OperationalError, pq
from psycopg.errors import error_from_result

from pipeline.connectors.postgres.session.connection import Connection

_POLL_SECONDS = 0.1
"""How often a thread that waits for the server checks whether it is stopped."""


class StoppedError(Exception):
    """`stop` was called. Never leaves this package."""


class CopyOut:
    """One COPY TO STDOUT at a time on a connection of its own. `at_end`: it has no more rows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._selector = selectors.PollSelector()  # unlike others it needs no file descriptor
        self._selector.register(self._pgconn.socket, selectors.EVENT_READ)
        self._stop = threading.Event()
        self.at_end = True

    def stop(self) -> None:
        """Let a thread that waits for rows give up soon. The connection cannot be used after that."""
        self._stop.set()

    def start(self, statement: str) -> None:
        """Begin a COPY. psycopg.Error when the server rejects it."""
        self.at_end = False
        self._pgconn.send_query(statement.encode())
        while self._pgconn.is_busy():
            self._wait()
        result = self._pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            self._raise(result)

    def read(self, max_rows: int, max_bytes: int) -> list[memoryview]:
        """Return the next rows, each with its line feed; none when there are no more.

        At most `max_rows`, and no more once there are `max_bytes`. StoppedError after `stop`.
        """
        rows: list[memoryview] = []
        append: Callable[[memoryview], None] = rows.append
        get = self._pgconn.get_copy_data
        left = max_bytes
        while not self.at_end and left > 0 and len(rows) < max_rows:
            size, row = get(1)
            while size > 0:
                append(row)
                left -= size
                if left <= 0 or len(rows) == max_rows:
                    break
                size, row = get(1)
            if size == 0:
                self._wait()
            elif size < 0:
                self._end()
        return rows

    def _wait(self) -> None:
        while not self._stop.is_set():
            if self._selector.select(_POLL_SECONDS):
                self._pgconn.consume_input()
                return
        raise StoppedError

    def _end(self) -> None:
        """Read the results after the last row, which say whether the COPY succeeded."""
        self.at_end = True
        for result in list(iter(self._pgconn.get_result, None)):
            if result.status != pq.ExecStatus.COMMAND_OK:
                self._raise(result)

    def _raise(self, result: pq.abc.PGresult | None) -> None:
        if result is None:
            raise OperationalError(pq.error_message(self._pgconn))
        while self._pgconn.get_result() is not None:
            pass
        raise error_from_result(result, encoding="utf-8")
