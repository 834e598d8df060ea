"""PostgreSQL's errors as the pipeline's own, by one table. Nothing above this package sees an exception of psycopg."""

from __future__ import annotations

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
)

_AGAIN = "run the command again; it carries on where it stopped"
_LOST = f"the connection was lost; {_AGAIN}"
_FILES = f"the server cannot read or write its files; check its disk, quotas, limits and log, then {_AGAIN}"

_MEANING: dict[str, tuple[type[PipelineError], str]] = {
    "08": (TransientError, _LOST),
    "0A": (ConfigurationError, "this server cannot do it"),
    "22": (ConfigurationError, "a value does not fit"),
    "23": (ConfigurationError, "a constraint forbids it"),
    "25006": (RefusedError, "it is read-only (a standby, or default_transaction_read_only); name the primary server"),
    "25P03": (TransientError, _LOST),
    "28": (ConfigurationError, "the server did not let us in; check user and password"),
    "3D000": (ConfigurationError, "there is no such database; check the name"),
    "3F000": (ConfigurationError, "there is no such schema; check the name"),
    "40": (TransientError, f"another transaction stood in the way; {_AGAIN}"),
    "42": (ConfigurationError, "PostgreSQL cannot do this with the tables as they are"),
    "42501": (RefusedError, "a privilege is missing; have the owner grant it, then run the command again"),
    "53": (TransientError, f"the server is short of resources; {_AGAIN}"),
    "53100": (RefusedError, f"the server's disk is full; free some space there, then {_AGAIN}"),
    "53400": (RefusedError, f"a limit that is set at the server is reached; raise it there, then {_AGAIN}"),
    "54": (ConfigurationError, "a limit of PostgreSQL is exceeded"),
    "55006": (TransientError, f"it is in use; {_AGAIN}"),
    "55P03": (
        TransientError,
        "a lock held by another session was not given up in time; run the command again when it is",
    ),
    "57": (TransientError, f"the server ended the work; {_AGAIN}"),
    "57P04": (ConfigurationError, "the database was dropped"),
    "58": (RefusedError, _FILES),
    "58P01": (DamagedError, "the server misses a file of its own; restore it from a backup"),
    "72": (TransientError, f"the snapshot has become too old; {_AGAIN}"),
    "XX001": (DamagedError, "data of the server is damaged; restore it from a backup"),
    "XX002": (DamagedError, "an index is damaged; REINDEX it"),
}
"""By SQLSTATE, or else by its class, the first two characters: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_ABOUT_FILES = frozenset({"buffile.c", "fd.c", "md.c", "slru.c"})
"""The parts of the server that write tables and temporary files. For what the system answers beside "no space", such as that
a quota or the largest size of a file is reached, PostgreSQL has no SQLSTATE but XX000, which may be anything."""

_RECOVERY = (
    "the standby has to follow its primary, and could not leave us our snapshot; set hot_standby_feedback = on or a longer "
    f"max_standby_streaming_delay there, then {_AGAIN}"
)

_UNREACHABLE = (
    "connection refused",
    "connection timeout expired",
    "timeout expired",
    "timed out",
    "no such file or directory",
    "server closed the connection",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "too many clients",
    "remaining connection slots",
    "starting up",
    "shutting down",
    "not yet accepting connections",
    "recovery mode",
)
"""Words in libpq's or the server's message when a connection cannot be had now, but later. libpq gives no SQLSTATE then."""


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what psycopg raises inside as an error of `pipeline.domain.errors` that names `place`."""
    try:
        yield
    except psycopg.Error as error:
        raise meaning(error, place) from error


def meaning(error: psycopg.Error, place: str) -> PipelineError:
    """Return `error` as what the caller has to do next, with `place` (a location, perhaps a table) in its message."""
    state = error.sqlstate
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return TransientError(f"{place}: {_LOST} ({_words(error)})")
    known = _told_apart(error) or _MEANING.get(state or "") or _MEANING.get((state or "")[:2])
    if known is None:
        return DefectError(
            f"{place}: unexpected error from PostgreSQL: {type(error).__name__} {state}: {_words(error)}"
        )
    kind, advice = known
    return kind(f"{place}: {advice} (PostgreSQL: {_words(error)})")


def _told_apart(error: psycopg.Error) -> tuple[type[PipelineError], str] | None:
    """Return what an error means whose SQLSTATE stands for others, too: the part of the server tells, in any language."""
    part = error.diag.source_file
    if error.sqlstate == "XX000" and part in _ABOUT_FILES:
        return RefusedError, _FILES
    if error.sqlstate == "40001" and part == "postgres.c":
        return TransientError, _RECOVERY
    return None


def connect_meaning(error: psycopg.OperationalError, location: PostgresLocation) -> PipelineError:
    """Return the reason why no connection came about. Neither libpq nor the server repeats a password."""
    words = _words(error)
    if isinstance(error, psycopg.errors.ConnectionTimeout) or any(sign in words.lower() for sign in _UNREACHABLE):
        return TransientError(
            f"{location.url}: the server does not answer; check that it runs, and host and port, then {_AGAIN} ({words})"
        )
    advice = "check user, password (PGPASSWORD or a pass file), database and TLS settings"
    return ConfigurationError(f"{location.url}: no connection; {advice} ({words})")


def _words(error: psycopg.Error) -> str:
    """Return the server's message with its detail and hint, in one line."""
    diagnosis = error.diag
    parts = [diagnosis.message_primary or str(error), diagnosis.message_detail, diagnosis.message_hint]
    return "; ".join(" ".join(part.split()) for part in parts if part)
