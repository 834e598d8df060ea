"""Errors of the event queue's file, translated by one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from pipeline import sqlite_access
from pipeline.domain.errors import ConfigurationError, DamagedError, RefusedError, TransientError

_DENIED = "give this user the right to read and write it and its directory, or choose another place with --home"
_DAMAGED = "move the file away and run the command again; its messages are sent again"
_SPECIAL: sqlite_access.Meanings = {
    apsw.NoMemError: (TransientError, "the machine is out of memory; stop something and run the command again"),
    apsw.ReadOnlyError: (RefusedError, _DENIED),
    apsw.CantOpenError: (RefusedError, _DENIED),
    apsw.PermissionsError: (RefusedError, _DENIED),
    apsw.CorruptError: (DamagedError, f"it is damaged; {_DAMAGED}"),
    apsw.NotADBError: (ConfigurationError, f"it is not an SQLite file; {_DAMAGED}"),
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise an error of SQLite, or of creating the file's directory, as the pipeline's own."""
    place = f"the event queue {path}"
    try:
        with sqlite_access.translated(place, _SPECIAL):
            yield
    except OSError as error:
        raise RefusedError(f"{place}: cannot be created: {error.strerror}; {_DENIED}") from error
