"""The one table from the operating system's and SQLite's errors to the pipeline's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pipeline.domain.errors import DamagedError, PipelineError, RefusedError, TransientError

_ADVICE: dict[int, tuple[type[PipelineError], str]] = {
    errno.EACCES: (RefusedError, "grant this user the permission, then run the command again"),
    errno.EPERM: (RefusedError, "grant this user the permission, then run the command again"),
    errno.EROFS: (RefusedError, "make the file system writable, then run the command again"),
    errno.ENOSPC: (RefusedError, "free some space, then run the command again"),
    errno.EDQUOT: (RefusedError, "free some space or raise the quota, then run the command again"),
    errno.EFBIG: (RefusedError, "choose a file system that takes files of this size"),
    errno.EIO: (RefusedError, "the device reports an error: check it, then run the command again"),
    errno.ENOENT: (TransientError, "it changed while the pipeline was at work: run the command again"),
    errno.ENOTDIR: (TransientError, "it changed while the pipeline was at work: run the command again"),
    errno.ELOOP: (TransientError, "it changed while the pipeline was at work: run the command again"),
    errno.ESTALE: (TransientError, "it changed while the pipeline was at work: run the command again"),
    errno.EBUSY: (TransientError, "wait until it is free, then run the command again"),
    errno.EAGAIN: (TransientError, "wait until it is free, then run the command again"),
    errno.ETIMEDOUT: (TransientError, "check the connection to the file server, then run the command again"),
    errno.EMFILE: (TransientError, "raise the limit of open files (ulimit -n), then run the command again"),
    errno.ENFILE: (TransientError, "wait until fewer files are open, then run the command again"),
}

GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening without following links says where there is nothing, or a file or link in a directory's place."""

UNACCEPTABLE_NAMES = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
"""What a file system says of a name that it can never hold: a matter of one record, not of the whole load."""

_STATE_ERRORS: tuple[tuple[type[apsw.Error], type[PipelineError], str], ...] = (
    (apsw.BusyError, TransientError, "another process is at work here: run the command again"),
    (apsw.LockedError, TransientError, "another process is at work here: run the command again"),
    (apsw.ReadOnlyError, RefusedError, "make it writable, then run the command again"),
    (apsw.CantOpenError, RefusedError, "make it readable and writable, then run the command again"),
    (apsw.FullError, RefusedError, "free some space, then run the command again"),
    (apsw.IOError, RefusedError, "check the device and its free space, then run the command again"),
    (apsw.CorruptError, DamagedError, "restore it, or move it away and import the Flow anew"),
    (apsw.NotADBError, DamagedError, "restore it, or move it away and import the Flow anew"),
)


def translate(error: OSError, what: str) -> PipelineError:
    """Return the pipeline's error for `error`, which happened to the thing a person calls `what`."""
    kind, advice = _ADVICE.get(error.errno or 0, (RefusedError, "set this right, then run the command again"))
    return kind(f"{what}: {error.strerror or error}; {advice}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise what the operating system reports inside as an error of the pipeline that names `what`."""
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error


@contextmanager
def translated_state(what: str) -> Iterator[None]:
    """Raise what SQLite reports inside as an error of the pipeline that names the file `what`."""
    try:
        yield
    except apsw.Error as error:
        for foreign, own, advice in _STATE_ERRORS:
            if isinstance(error, foreign):
                raise own(f"{what}: {error}; {advice}") from error
        raise
