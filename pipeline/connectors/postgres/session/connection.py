"""Connecting to a server, with the session set so that what is read and written is exact and the same everywhere.

The connections are synchronous, and used from worker threads: so the connector runs on asyncio and on trio.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from pipeline.connectors.postgres.session.errors import connect_meaning, translated
from pipeline.connectors.postgres.session.location import PostgresLocation
from pipeline.domain.errors import ConfigurationError

Connection = psycopg.Connection[TupleRow]

CONNECT_TIMEOUT_SECONDS = 10
"""How long a server may take to answer, unless the URL or `PGCONNECT_TIMEOUT` says otherwise."""

LOCK_TIMEOUT_SECONDS = 30.0
"""How long a lock held by the app is waited for: longer than an app's own transactions, shorter than patience."""

OLDEST_SERVER = 120000
"""PostgreSQL 12: the oldest release whose catalog holds all that is read here (generated columns)."""

SESSION: Mapping[str, str] = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",  # as pg_dump has it: reads back as the same months, days and microseconds
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "search_path": "pg_catalog, pg_temp",  # so that every name of the app's own is written with its schema
    "row_security": "off",  # rows hidden by a policy are an error, and never silently missing
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "jit": "off",  # compiling takes longer than one range of rows
    "max_parallel_workers_per_gather": "0",  # the server's other cores belong to the app
    "synchronize_seqscans": "off",
}
"""What is set in every session. Settings that a server's release does not have are passed over."""

_APPLY = """
SELECT set_config(wanted.name, wanted.setting, false) FROM unnest(%s::text[], %s::text[]) AS wanted(name, setting)
WHERE lower(wanted.name) IN (SELECT lower(name) FROM pg_catalog.pg_settings)
"""


def connect(
    location: PostgresLocation,
    *,
    application_name: str,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    settings: Mapping[str, str] | None = None,
    connect_timeout_seconds: int | None = None,
) -> Connection:
    """Return a new connection, in autocommit, with `SESSION` and then `settings` set.

    `connect_timeout_seconds` overrides what the URL and the environment say. libpq waits at least 2 seconds.

    ConfigurationError for a wrong password or database, or a server older than PostgreSQL 12; TransientError when the
    server does not answer. Each names the location, with the server's own words and no secret.
    """
    parameters: dict[str, Any] = {**_patience(), **location.parameters}
    if connect_timeout_seconds is not None:
        parameters["connect_timeout"] = connect_timeout_seconds
    parameters |= {"client_encoding": "UTF8", "application_name": application_name}
    try:
        connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise connect_meaning(error, location) from error
    try:
        with translated(location.url):
            _prepare(
                connection,
                location,
                {**SESSION, "lock_timeout": _milliseconds(lock_timeout_seconds)} | dict(settings or {}),
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _patience() -> dict[str, object]:
    """How long a server that says nothing is waited for: libpq's own settings are endless, or hours."""
    given = {"connect_timeout": CONNECT_TIMEOUT_SECONDS} if "PGCONNECT_TIMEOUT" not in os.environ else {}
    return {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6, **given}


def _prepare(connection: Connection, location: PostgresLocation, settings: Mapping[str, str]) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise ConfigurationError(
            f"{location.url} runs release {version // 10000} of PostgreSQL; releases from {OLDEST_SERVER // 10000} on can be used"
        )
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise ConfigurationError(
            f"{location.url}: the database has the encoding SQL_ASCII, which does not say what its bytes mean; "
            "move it into one with a real encoding, such as UTF8, first"
        )
    connection.execute(_APPLY, (list(settings), list(settings.values())))


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as an SQL constant, as `standard_conforming_strings` has it."""
    return "'" + text.replace("'", "''") + "'"


def qualified(schema: str, name: str) -> str:
    """Return a name with its schema, as SQL."""
    return f"{quoted(schema)}.{quoted(name)}"
