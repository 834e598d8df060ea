"""COPY TO STDOUT, read row by row as bytes, in worker threads that can be stopped.

psycopg's own `copy.rows()` costs more for a row than the server does; here a row is one call into libpq.
"""

from __future__ import annotations

import selectors
import threading
from collections.abc import Callable

from psycopg import OperationalError, pq
from psycopg.errors import error_from_result

from pipeline.connectors.postgres.session.connection import Connection

_LOOK_SECONDS = 0.1
"""How often a thread that waits for the server looks whether it is still wanted."""


class StoppedError(Exception):
    """Nobody wants the rows any more. Never leaves this package."""


class CopyOut:
    """One COPY TO STDOUT at a time on a connection, which nobody else uses meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._selector = selectors.PollSelector()  # which holds no file descriptor of its own
        self._selector.register(self._pgconn.socket, selectors.EVENT_READ)
        self._stop = threading.Event()
        self._at_end = True

    def stop(self) -> None:
        """Let a thread that waits for rows give up soon. The connection is then of no more use."""
        self._stop.set()

    def start(self, statement: str) -> None:
        """Begin a COPY. psycopg.Error when the server refuses."""
        self._at_end = False
        self._pgconn.send_query(statement.encode())
        while self._pgconn.is_busy():
            self._wait()
        result = self._pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            self._raise(result)

    def read(self, max_rows: int, max_bytes: int) -> list[memoryview]:
        """Return the next rows, each with the line feed that ends it; none when there are no more.

        At most `max_rows`, and no more once there are `max_bytes`. StoppedError after `stop`.
        """
        rows: list[memoryview] = []
        append: Callable[[memoryview], None] = rows.append
        get = self._pgconn.get_copy_data
        left = max_bytes
        while not self._at_end and left > 0 and len(rows) < max_rows:
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
            if self._selector.select(_LOOK_SECONDS):
                self._pgconn.consume_input()
                return
        raise StoppedError

    def _end(self) -> None:
        """Take the results that follow the last row: they tell whether it was the last."""
        self._at_end = True
        results = []
        while (result := self._pgconn.get_result()) is not None:
            results.append(result)
        for result in results:
            if result.status != pq.ExecStatus.COMMAND_OK:
                self._raise(result)

    def _raise(self, result: pq.abc.PGresult | None) -> None:
        if result is None:
            raise OperationalError(pq.error_message(self._pgconn))
        while self._pgconn.get_result() is not None:
            pass
        raise error_from_result(result, encoding="utf-8")
