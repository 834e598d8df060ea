"""PostgreSQL's errors as the pipeline's own, by one table. Nothing above this package sees an exception of psycopg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pipeline.connectors.postgres.session.location import PostgresLocation
from pipeline.domain.errors import (
    ConfigurationError,
    DamagedError,
    DefectError,
    PipelineError,
    RefusedError,
    TransientError,
    UnreadableError,
)

_AGAIN = "run the command again; it carries on where it stopped"
_LOST = f"the connection was lost; {_AGAIN}"
_FILES = f"the server cannot read or write its files; check its disk, quotas, limits and log, then {_AGAIN}"

_FUNCTION = "a function or trigger of the database fails or forbids it"

_MEANING: dict[str, tuple[type[PipelineError], str]] = {
    "08": (TransientError, _LOST),
    "0A": (ConfigurationError, "this server does not support it"),
    "22": (ConfigurationError, "a value does not fit"),
    "23": (ConfigurationError, "a constraint forbids it"),
    "25006": (RefusedError, "it is read-only (a standby, or default_transaction_read_only); name the primary server"),
    "25P03": (TransientError, _LOST),
    "2B": (ConfigurationError, "other objects depend on it"),
    "2F": (ConfigurationError, _FUNCTION),
    "28": (ConfigurationError, "the server rejects the login; check user and password"),
    "38": (ConfigurationError, _FUNCTION),
    "39": (ConfigurationError, _FUNCTION),
    "3D000": (ConfigurationError, "there is no such database; check the name"),
    "3F000": (ConfigurationError, "there is no such schema; check the name"),
    "40": (TransientError, f"it conflicts with another transaction; {_AGAIN}"),
    "42": (ConfigurationError, "PostgreSQL cannot do this with the tables as they are"),
    "42501": (RefusedError, "a privilege is missing; have the owner grant it, then run the command again"),
    "44": (ConfigurationError, "a view forbids it"),
    "53": (TransientError, f"the server is short of resources; {_AGAIN}"),
    "53100": (RefusedError, f"the server's disk is full; free some space there, then {_AGAIN}"),
    "53400": (RefusedError, f"a limit that is set at the server is reached; raise it there, then {_AGAIN}"),
    "54": (ConfigurationError, "a limit of PostgreSQL is exceeded"),
    "55006": (TransientError, f"it is in use; {_AGAIN}"),
    "55000": (ConfigurationError, "PostgreSQL cannot do this with the objects as they are"),
    "55P03": (TransientError, "another session holds a lock for too long; run the command again when it has ended"),
    "55P04": (TransientError, f"a new enum label is not committed yet; {_AGAIN}"),
    "57": (TransientError, f"the server ended the work; {_AGAIN}"),
    "57P04": (ConfigurationError, "the database was dropped"),
    "58": (RefusedError, _FILES),
    "58P01": (DamagedError, "a file of the server is missing; restore it from a backup"),
    "72": (TransientError, f"the snapshot has become too old; {_AGAIN}"),
    "HV": (ConfigurationError, "a foreign server does not do it"),
    "P0": (ConfigurationError, _FUNCTION),
    "XX000": (RefusedError, f"an internal error of the server or of an extension; see the server's log, then {_AGAIN}"),
    "XX001": (DamagedError, "data of the server is damaged; restore it from a backup"),
    "XX002": (DamagedError, "an index is damaged; REINDEX it"),
}
"""By SQLSTATE or its class, the first two characters: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_OF_A_TABLE = frozenset({"0A", "22", "38", "39", "42", "54", "P0", "XX"})
"""The classes of errors that concern the table that is read: a missing function or privilege, damaged or odd data."""

_FILE_SOURCES = frozenset({"buffile.c", "fd.c", "md.c", "slru.c"})
"""Source files of the server that write tables and temporary files. PostgreSQL has no SQLSTATE of its own for a reached
quota or largest file size: it reports XX000, which may be anything."""

_RECOVERY = (
    "the standby must follow its primary and could not keep our snapshot; set hot_standby_feedback = on or a longer "
    f"max_standby_streaming_delay there, then {_AGAIN}"
)

_UNREACHABLE = re.compile(
    "connection refused|timeout expired|timed out|no such file or directory|server closed the connection|connection reset|"
    "network is unreachable|no route to host|starting up|shutting down|"
    "not yet accepting connections|recovery mode",
    re.IGNORECASE,
)
"""Words in the message of libpq or the server when a later attempt may succeed. libpq gives no SQLSTATE then."""


_TOO_MANY = re.compile("too many connections|too many clients|remaining connection slots", re.IGNORECASE)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise psycopg's errors as errors of `pipeline.domain.errors` that name `place`, a location and perhaps a table."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, place) from error


@contextmanager
def table_errors(place: str) -> Iterator[None]:
    """Raise an error that concerns the one table that is read as UnreadableError, and any other as `translated` does."""
    try:
        yield
    except psycopg.Error as error:
        found, state = translate(error, place), error.sqlstate or ""
        is_disk = state == "XX000" and error.diag.source_file in _FILE_SOURCES
        if (state[:2] not in _OF_A_TABLE and state != "58P01") or is_disk:
            raise found from error
        advice = _MEANING.get(state, (None, "correct the cause, or leave the table out with --exclude"))[1]
        raise UnreadableError(f"{advice} (PostgreSQL: {_one_line(error)})", "table") from error


def translate(error: psycopg.Error, place: str) -> PipelineError:
    """Return the pipeline's error for `error`, with `place` in its message."""
    state = error.sqlstate or ""
    words = _one_line(error)
    if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return TransientError(f"{place}: {_LOST} ({words})")
    source = error.diag.source_file  # the same in every language, unlike the message
    if state == "XX000" and source in _FILE_SOURCES:
        return RefusedError(f"{place}: {_FILES} (PostgreSQL: {words})")
    if state == "40001" and source == "postgres.c":
        return TransientError(f"{place}: {_RECOVERY} (PostgreSQL: {words})")
    known = _MEANING.get(state) or _MEANING.get(state[:2])
    if known is None:
        return DefectError(f"{place}: unexpected error from PostgreSQL: {type(error).__name__} {state}: {words}")
    kind, advice = known
    return kind(f"{place}: {advice} (PostgreSQL: {words})")


def connect_error(error: psycopg.OperationalError, location: PostgresLocation) -> PipelineError:
    """Return the pipeline's error for a failed connection. Neither libpq nor the server repeats a password."""
    words = _one_line(error)
    if _TOO_MANY.search(words):
        return TransientError(
            f"{location.url}: the number of connections is limited and reached; the pipeline needs up to 4 to read and 8 to "
            f"load. Raise the limit of the role, the database or the server, or end other connections; then {_AGAIN} ({words})"
        )
    if isinstance(error, psycopg.errors.ConnectionTimeout) or _UNREACHABLE.search(words):
        return TransientError(
            f"{location.url}: the server does not answer; check that it runs, and host and port, then {_AGAIN} ({words})"
        )
    advice = "check user, password (PGPASSWORD or a pass file), database and TLS settings"
    return ConfigurationError(f"{location.url}: cannot connect; {advice} ({words})")


def server_message(error: psycopg.Error) -> str:
    """Return the server's message and its detail."""
    return "; ".join(filter(None, (error.diag.message_primary, error.diag.message_detail))) or str(error)


def _one_line(error: psycopg.Error) -> str:
    """Return the server's message, detail and hint in one line."""
    parts = filter(None, (server_message(error), error.diag.message_hint))
    return " ".join("; ".join(parts).split())
