"""Locks between processes; the kernel releases a lock when its holder ends.

The package `filelock` is not used: where a file system has no `flock` it falls back to a marker file, which a killed
holder leaves behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from pipeline.domain.errors import TransientError

_TIMEOUT_SECONDS = 30.0
"""Longer than any commit takes: only a stopped or hanging process holds a lock this long."""

_PAUSE_SECONDS = 0.0005


@contextmanager
def locked(directory: Path, key: str) -> Iterator[None]:
    """Hold the lock of `key`, one of 256, against all threads and processes. It blocks: call it in a worker thread."""
    path = directory / f"{crc32(key.encode()) % 256:02x}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait_for_lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"another process has held the lock {path} for {_TIMEOUT_SECONDS:.0f} seconds; "
                    "resume or end that process, and run the command again"
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
