"""SQLite's errors in the event queue, translated by one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from pipeline.domain.errors import (
    ConfigurationError,
    DamagedError,
    DefectError,
    PipelineError,
    RefusedError,
    TransientError,
)

_BUSY = "another process keeps it locked; run the command again"
_DENIED = "give this user the right to read and write it and its directory, or choose another place with --home"
_DAMAGED = "move the file away and run the command again: the queue is only a doorbell, and is rung anew"

_TABLE: tuple[tuple[type[apsw.Error], type[PipelineError], str], ...] = (
    (apsw.BusyError, TransientError, _BUSY),
    (apsw.LockedError, TransientError, _BUSY),
    (apsw.NoMemError, TransientError, "the machine is out of memory; stop something and run the command again"),
    (apsw.FullError, RefusedError, "the disk is full; make room and run the command again"),
    (apsw.IOError, RefusedError, "the disk is full or failed; make room or check it, and run the command again"),
    (apsw.ReadOnlyError, RefusedError, _DENIED),
    (apsw.CantOpenError, RefusedError, _DENIED),
    (apsw.PermissionsError, RefusedError, _DENIED),
    (apsw.CorruptError, DamagedError, _DAMAGED),
    (apsw.NotADBError, ConfigurationError, f"it is not an SQLite file; {_DAMAGED}"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an error of SQLite, or of making the file's directory, into the error for the caller's next step."""
    try:
        yield
    except apsw.Error as error:
        for foreign, ours, advice in _TABLE:
            if isinstance(error, foreign):
                raise ours(f"cannot use the event queue {path}: {error}; {advice}") from error
        raise DefectError(f"the event queue {path} failed: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise RefusedError(f"cannot make the event queue {path}: {error.strerror}; {_DENIED}") from error
