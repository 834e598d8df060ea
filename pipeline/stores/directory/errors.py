"""Translates operating system errors of the directory store, with one table."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.domain.errors import ConfigurationError, PipelineError, RefusedError, TransientError

_FULL = "make room there or raise the limit, then run the command again"
_DENIED = "give this user the right to write there, or choose another directory with --home"
_BUSY = "run the command again; it carries on where it stopped"
_SHAPE = "the store needs a directory of its own; choose another directory with --home"

_TABLE: dict[int, tuple[type[PipelineError], str]] = {
    errno.ENOSPC: (RefusedError, _FULL),
    errno.EDQUOT: (RefusedError, _FULL),
    errno.EFBIG: (RefusedError, _FULL),
    errno.EACCES: (RefusedError, _DENIED),
    errno.EPERM: (RefusedError, f"{_DENIED} (its file system must allow hard links)"),
    errno.EROFS: (
        RefusedError,
        "it is mounted read-only; mount it for writing, or choose another directory with --home",
    ),
    errno.EIO: (RefusedError, "the disk failed; check the disk and its data"),
    errno.ENOENT: (RefusedError, "the store's directory was removed while it was in use; run the command again"),
    errno.EOPNOTSUPP: (
        RefusedError,
        "its file system has no hard links or locks; choose another directory with --home",
    ),
    errno.ENOLCK: (RefusedError, "its file system has no locks; choose another directory with --home"),
    errno.ENOTDIR: (ConfigurationError, _SHAPE),
    errno.EISDIR: (ConfigurationError, _SHAPE),
    errno.EEXIST: (ConfigurationError, _SHAPE),
    errno.ELOOP: (ConfigurationError, _SHAPE),
    errno.ENAMETOOLONG: (ConfigurationError, "choose a directory with a shorter path with --home"),
    errno.EAGAIN: (TransientError, _BUSY),
    errno.EBUSY: (TransientError, _BUSY),
    errno.EINTR: (TransientError, _BUSY),
    errno.ESTALE: (TransientError, _BUSY),
    errno.ETIMEDOUT: (TransientError, _BUSY),
    errno.ENOMEM: (TransientError, "the machine is out of memory; stop something and run the command again"),
    errno.EMFILE: (TransientError, "too many open files; raise `ulimit -n` and run the command again"),
    errno.ENFILE: (TransientError, "too many open files on this machine; run the command again"),
}
_OTHERWISE = (RefusedError, "check what the operating system reports about this place")


@contextmanager
def translated(what: str, place: Path) -> Iterator[None]:
    """Turn an OSError of the body into the error for the caller's next step; the message is "cannot {what} {place}"."""
    try:
        yield
    except OSError as error:
        kind, advice = _TABLE.get(error.errno or 0, _OTHERWISE)
        raise kind(f"cannot {what} {place}: {error.strerror or error}; {advice}") from error
