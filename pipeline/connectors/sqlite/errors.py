"""SQLite's errors as the pipeline's own, by one table. Nothing above this package sees an exception of apsw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pipeline.domain.errors import (
    ConfigurationError,
    DamagedError,
    DefectError,
    PipelineError,
    RefusedError,
    TransientError,
)

_MEANING: dict[type[apsw.Error], tuple[type[PipelineError], str]] = {
    apsw.BusyError: (TransientError, "it is locked by another process; run the command again when that one is done"),
    apsw.LockedError: (TransientError, "it is locked by another connection; run the command again"),
    apsw.ProtocolError: (TransientError, "its lock could not be taken; run the command again"),
    apsw.InterruptError: (TransientError, "the work was interrupted; run the command again"),
    apsw.SchemaChangeError: (TransientError, "its schema changed meanwhile; run the command again"),
    apsw.FullError: (RefusedError, "the disk is full; free some space and run the command again"),
    apsw.ReadOnlyError: (RefusedError, "it is not writable; check the permissions of the file and its directory"),
    apsw.PermissionsError: (RefusedError, "access is denied; check the permissions of the file and its directory"),
    apsw.AuthError: (RefusedError, "the statement is not allowed"),
    apsw.IOError: (RefusedError, "the system cannot read or write it; check the disk"),
    apsw.NoMemError: (RefusedError, "there is not enough memory"),
    apsw.CorruptError: (DamagedError, "the database is damaged; restore it from a backup or try sqlite3's .recover"),
    apsw.FormatError: (DamagedError, "the database is damaged; restore it from a backup"),
    apsw.NotADBError: (DamagedError, "the database is damaged or encrypted; restore it from a backup"),
    apsw.CantOpenError: (ConfigurationError, "it cannot be opened; check the path and the permissions"),
    apsw.SQLError: (ConfigurationError, "SQLite cannot do this with the table as it is"),
    apsw.ConstraintError: (ConfigurationError, "a trigger or constraint forbids it"),
    apsw.MismatchError: (ConfigurationError, "a value is of the wrong type"),
    apsw.TooBigError: (ConfigurationError, "a value is larger than SQLite takes"),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what SQLite raises inside as an error of `pipeline.domain.errors` that names `place`."""
    try:
        yield
    except apsw.Error as error:
        raise meaning(error, place) from error


def meaning(error: apsw.Error, place: str) -> PipelineError:
    """Return `error` as what the caller has to do next, with `place` (a file, perhaps a table) in its message."""
    for kind, (wanted, advice) in _MEANING.items():
        if isinstance(error, kind):
            return wanted(f"{place}: {advice} (SQLite: {error})")
    return DefectError(f"{place}: unexpected error from SQLite: {type(error).__name__}: {error}")
