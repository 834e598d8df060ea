"""Connecting to a server, with session settings under which values are exact and the same on every server.

Connections are synchronous and used from worker threads, so the connector runs on asyncio and on trio.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from pipeline.connectors.postgres.session.errors import connect_error, translated
from pipeline.connectors.postgres.session.location import PostgresLocation
from pipeline.domain.errors import ConfigurationError

Connection = psycopg.Connection[TupleRow]

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
    "quote_all_identifiers": "off",
    "lock_timeout": "30s",  # longer than an app's own transactions
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "temp_buffers": "32MB",  # holds a batch of staged rows; taken when needed, the rest goes through files
    "jit": "off",  # compiling takes longer than reading one range of rows
    "max_parallel_workers_per_gather": "0",  # the server's other cores belong to the app
    "synchronize_seqscans": "off",
}
"""Set in every session. A setting that the server's release does not have is skipped."""

_APPLY = """
SELECT set_config(wanted.name, wanted.setting, false) FROM unnest(%s::text[], %s::text[]) AS wanted(name, setting)
WHERE lower(wanted.name) IN (SELECT lower(name) FROM pg_catalog.pg_settings)
"""


def connect(
    location: PostgresLocation,
    application_name: str,
    *,
    settings: Mapping[str, str] | None = None,
    connect_timeout_seconds: int | None = None,
) -> Connection:
    """Return a new connection in autocommit mode, with `SESSION` and then `settings` set.

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
        connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise connect_error(error, location) from error
    try:
        with translated(location.url):
            _check_server(connection, location)
            connection.execute(_APPLY, (list(session), list(session.values())))
    except BaseException:
        connection.close()
        raise
    return connection


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
