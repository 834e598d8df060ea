"""Errors of the operating system as the pipeline's own, by one table."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.connectors.files.names import shown
from pipeline.domain.errors import PipelineError, RefusedError, TransientError

_PERMISSION = (RefusedError, "grant this user the permission, then run the command again")
_CHANGED = (TransientError, "it changed while the pipeline was working: run the command again")
_BUSY = (TransientError, "wait until it is free, then run the command again")
_UNSUPPORTED = (RefusedError, "the file system does not support this: choose another one, then run the command again")
_OTHER = (RefusedError, "correct this, then run the command again")
_ADVICE: dict[int, tuple[type[PipelineError], str]] = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: (RefusedError, "make the file system writable, then run the command again"),
    errno.ENOSPC: (RefusedError, "free some space, then run the command again"),
    errno.EDQUOT: (RefusedError, "free some space or raise the quota, then run the command again"),
    errno.EFBIG: (RefusedError, "choose a file system that takes files of this size"),
    errno.EIO: (RefusedError, "the device reports an error: check it, then run the command again"),
    errno.EMLINK: _UNSUPPORTED,
    errno.ENOSYS: _UNSUPPORTED,
    errno.EOPNOTSUPP: _UNSUPPORTED,
    errno.ENOENT: _CHANGED,
    errno.ENOTDIR: _CHANGED,
    errno.ELOOP: _CHANGED,
    errno.ESTALE: _CHANGED,
    errno.EBUSY: _BUSY,
    errno.EAGAIN: _BUSY,
    errno.ETXTBSY: _BUSY,
    errno.ETIMEDOUT: (TransientError, "check the connection to the file server, then run the command again"),
    errno.EMFILE: (TransientError, "raise the limit of open files (ulimit -n), then run the command again"),
    errno.ENFILE: (TransientError, "wait until fewer files are open, then run the command again"),
}

GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Opening without following links: there is no such entry, or a file or link has replaced a directory of its path."""

OF_ONE_PATH = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ETXTBSY, errno.EISDIR),
        *(errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP),
    }
)
"""The user may not change this entry, it is in use, or the file system has no links or permissions: an error of one record,
which may load later."""

INVALID_NAMES = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
"""The file system can never hold this name: an error of one record, not of the whole load."""


def translate(error: OSError, what: str) -> PipelineError:
    """Return `error`, which concerns `what`, as an error of the pipeline."""
    kind, advice = _ADVICE.get(error.errno or 0, _OTHER)
    return kind(f"{what}: {error.strerror or error}; {advice}")


class UnreadableEntryError(PipelineError):
    """One entry of a tree cannot be read; the others can. Correct its cause, then run the command again."""


@contextmanager
def entry_errors(what: str, path: bytes | None = None) -> Iterator[None]:
    """Raise an error that concerns one entry alone as UnreadableEntryError, and any other as `translated` does.

    The error names `what`, and the entry at `path`.
    """
    try:
        yield
    except OSError as error:
        found = translate(error, what if path is None else f"{what} {shown(path)!r}")
        if isinstance(found, RefusedError) or _ADVICE.get(error.errno or 0) in (_CHANGED, _BUSY):
            raise UnreadableEntryError(str(found)) from error
        raise found from error


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise an error of the operating system as one of the pipeline that names `what`."""
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error
