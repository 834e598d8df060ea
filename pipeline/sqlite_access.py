"""What all adapters that keep data in SQLite files share: how a file is addressed, and what SQLite's errors mean."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import apsw

from pipeline.domain.errors import (
    ConfigurationError,
    DamagedError,
    DefectError,
    PipelineError,
    RefusedError,
    TransientError,
    UnreadableError,
)

Meanings = Mapping[type[apsw.Error], tuple[type[PipelineError], str]]
"""What the caller does next about an exception of apsw: the class of the pipeline's error, and advice."""

_MEANINGS: Meanings = {
    apsw.BusyError: (TransientError, "another process keeps it locked; run the command again when that one is done"),
    apsw.LockedError: (TransientError, "another connection keeps it locked; run the command again"),
    apsw.ProtocolError: (TransientError, "its lock cannot be taken; run the command again"),
    apsw.InterruptError: (TransientError, "the work was interrupted; run the command again"),
    apsw.SchemaChangeError: (TransientError, "its schema changed meanwhile; run the command again"),
    apsw.FullError: (RefusedError, "the disk is full; free some space and run the command again"),
    apsw.ReadOnlyError: (RefusedError, "it is not writable; check the permissions of the file and its directory"),
    apsw.PermissionsError: (RefusedError, "access is denied; check the permissions of the file and its directory"),
    apsw.AuthError: (RefusedError, "the statement is not allowed"),
    apsw.IOError: (RefusedError, "the system cannot read or write it; check the disk and its free space"),
    apsw.NoMemError: (RefusedError, "there is not enough memory"),
    apsw.CorruptError: (DamagedError, "the database is damaged; restore it from a backup or try sqlite3's .recover"),
    apsw.FormatError: (DamagedError, "the database is damaged; restore it from a backup"),
    apsw.NotADBError: (DamagedError, "the database is damaged or encrypted; restore it from a backup"),
    apsw.CantOpenError: (ConfigurationError, "it cannot be opened; check the path and the permissions"),
    apsw.SQLError: (ConfigurationError, "SQLite cannot do this with the table as it is"),
    apsw.ConstraintError: (ConfigurationError, "a trigger or constraint forbids it"),
    apsw.MismatchError: (ConfigurationError, "a value is of the wrong type"),
    apsw.TooBigError: (ConfigurationError, "a value is larger than SQLite allows"),
}


def uri_of(path: Path) -> str:
    """Return the absolute path as a URI, the form in which SQLite takes a path of any bytes."""
    return f"file:{quote(os.fsencode(path.absolute()))}"


@contextmanager
def table_errors() -> Iterator[None]:
    """Raise an error of SQLite that concerns the one table that is read as UnreadableError."""
    try:
        yield
    except (apsw.CorruptError, apsw.FormatError) as error:
        raise UnreadableError(
            f"it is damaged; restore the database from a backup or try sqlite3's .recover (SQLite: {error})", "table"
        ) from error
    except (apsw.SQLError, apsw.MismatchError, apsw.TooBigError, apsw.ConstraintError) as error:
        raise UnreadableError(
            f"SQLite cannot read it; correct the cause, or leave the table out with --exclude (SQLite: {error})",
            "table",
        ) from error


@contextmanager
def translated(place: str, special: Meanings = MappingProxyType({})) -> Iterator[None]:
    """Raise an error of SQLite as the pipeline's own. Its message names `place`: a file, perhaps with a table.

    `special` are meanings that differ from the usual ones at this place.
    """
    try:
        yield
    except apsw.Error as error:
        for kind, (ours, advice) in (*special.items(), *_MEANINGS.items()):
            if isinstance(error, kind):
                raise ours(f"{place}: {advice} (SQLite: {error})") from error
        raise DefectError(f"{place}: unexpected error from SQLite: {type(error).__name__}: {error}") from error
