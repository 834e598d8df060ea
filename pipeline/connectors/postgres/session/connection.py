"""Connecting to a server, with settings under which values are exact and the same on every server.

The settings are local to each transaction. A transaction pooler such as PgBouncer gives each transaction another session,
and that session to the app afterwards: nothing of ours may be left in it, and nothing may be expected there.

Connections are synchronous and used from worker threads, so the connector runs on asyncio and on trio.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import Params
from psycopg.rows import TupleRow

from pipeline.connectors.postgres.session.errors import connect_error, translated
from pipeline.connectors.postgres.session.location import PostgresLocation
from pipeline.connectors.sql.identifiers import literal
from pipeline.domain.errors import ConfigurationError

CONNECT_TIMEOUT_SECONDS = 10
"""How long to wait for a server's answer, unless the URL or `PGCONNECT_TIMEOUT` says otherwise."""

OLDEST_SERVER = 120000
"""PostgreSQL 12, the oldest release whose catalog has everything that is read here (generated columns)."""

SESSION = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",  # like pg_dump: reads back as the same months, days and microseconds
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "search_path": "pg_catalog, pg_temp",  # so that the server writes the app's names with their schema
    "row_security": "off",  # rows hidden by a policy are an error, never silently missing
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "lock_timeout": "30s",  # longer than an app's own transactions
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "jit": "off",  # compiling takes longer than reading one range of rows
    "max_parallel_workers_per_gather": "0",  # the server's other cores belong to the app
    "synchronize_seqscans": "off",
}
"""Set in every transaction. A setting that the server's release does not have is skipped."""

_KNOWN = "SELECT lower(name) FROM pg_catalog.pg_settings WHERE lower(name) = ANY (%s)"
_answered: dict[tuple[str, int, frozenset[str]], frozenset[str]] = {}
_READ_COMMITTED = psycopg.IsolationLevel.READ_COMMITTED


class Connection(psycopg.Connection[TupleRow]):
    """A connection in autocommit mode. Each of its transactions has the settings of `set_in_transactions`, and leaves none."""

    _set = _select = ""

    def is_quiet(self) -> bool:
        """Whether the server has sent nothing: all it says on an idle connection is that it closes it."""
        if self.closed:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            return not selector.select(timeout=0)

    def set_in_transactions(self, settings: Mapping[str, str]) -> None:
        """Set these in every transaction from now on.

        SET takes no snapshot, so a lock may come before the first one. One SELECT sets them in a third of the time.
        """
        self._set += "".join(
            f"SET LOCAL {name} = {', '.join(map(literal, value.split(', ')))}; " for name, value in settings.items()
        )
        calls = [f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)" for name, value in settings.items()]
        self._select += f"SELECT {', '.join(calls)}; "

    def execute(  # type: ignore[override]  # no templates and composed queries: nothing here uses them
        self, query: str | bytes, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> psycopg.Cursor[TupleRow]:
        """Run a statement: outside of a transaction in one of its own, with `binary` in the extended protocol."""
        text = query.encode() if isinstance(query, str) else query
        if self.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return super().execute(text, params, prepare=prepare, binary=binary)
        if binary:
            with self.transaction():
                return super().execute(text, params, prepare=prepare, binary=True)
        isolation = b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "  # the default may be another one
        cursor = psycopg.ClientCursor(self)
        cursor.execute(isolation + self._select.encode() + text, params)
        while cursor.nextset():
            pass
        return cursor

    def begin(self, mode: str = "ISOLATION LEVEL READ COMMITTED") -> None:
        """Begin a transaction that the caller ends."""
        super().execute(f"BEGIN {mode}; {self._set}".encode())

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """Begin and end a transaction, or within one a savepoint."""
        is_outermost = self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if is_outermost:
                super().execute(self._select.encode())
            yield transaction


def connect(
    location: PostgresLocation,
    application_name: str,
    *,
    settings: Mapping[str, str] | None = None,
    connect_timeout_seconds: int | None = None,
) -> Connection:
    """Return a new connection whose transactions have `SESSION` and then `settings` set.

    `connect_timeout_seconds` overrides the URL and the environment; libpq waits for at least 2 seconds.

    ConfigurationError for a wrong password or database, or a server older than PostgreSQL 12; TransientError when the
    server does not answer. The message has the location and the server's own words, and no secret.
    """
    parameters: dict[str, Any] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
    if "PGCONNECT_TIMEOUT" not in os.environ:
        parameters["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    parameters |= location.parameters
    if connect_timeout_seconds is not None:
        parameters["connect_timeout"] = connect_timeout_seconds
    parameters |= {"client_encoding": "UTF8", "application_name": application_name}
    session = SESSION | dict(settings or {})
    try:
        connection = Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise connect_error(error, location) from error
    try:
        with translated(location.url):
            _check_server(connection, location)
            connection.isolation_level = _READ_COMMITTED
            known = _known_settings(connection, location, frozenset(name.lower() for name in session))
            connection.set_in_transactions({name: it for name, it in session.items() if name.lower() in known})
    except BaseException:
        connection.close()
        raise
    return connection


def _known_settings(connection: Connection, location: PostgresLocation, names: frozenset[str]) -> frozenset[str]:
    """Return those of these settings that the server has. It is asked once: the answer takes it a millisecond."""
    asked = location.url, connection.info.server_version, names
    if asked not in _answered:
        _answered[asked] = frozenset(name for (name,) in connection.execute(_KNOWN, (list(names),)))
    return _answered[asked]


def _check_server(connection: Connection, location: PostgresLocation) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise ConfigurationError(
            f"{location.url} runs PostgreSQL {version // 10000}, which is too old; "
            f"PostgreSQL {OLDEST_SERVER // 10000} and later are supported"
        )
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise ConfigurationError(
            f"{location.url}: the database has the encoding SQL_ASCII, which does not define what its bytes mean; "
            "move it to a database with a real encoding, such as UTF8, first"
        )
