"""A lock file for each Flow: one process at a time moves, verifies or compacts it on this machine.

The kernel releases the lock however its holder ends. The package `filelock` is not used: where a file system has no
`flock` it falls back to a marker file, which a killed holder leaves behind.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, encode_name
from pipeline.stores.directory.errors import translated

_MAX_NAME_LENGTH = 200
"""File systems take names of 255 bytes; two Flows whose encoded names share a beginning this long share a lock."""


@contextmanager
def hold_flow_lock(home: Path, flow: FlowName) -> Iterator[None]:
    """Hold the Flow's lock file below `home` while the body runs.

    ConfigurationError names the process that already holds it; RefusedError when nothing can be written below `home`.
    """
    path = home / "locks" / f"{encode_name(flow)[:_MAX_NAME_LENGTH]}.lock"
    with translated("lock a Flow in", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with translated("lock a Flow in", path.parent):
            _lock(handle, flow)
        with suppress(OSError):
            # When the disk is full, `prune` must still get the lock. Only the name of its holder is missing.
            os.ftruncate(handle, 0)
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC)}
            os.pwrite(handle, orjson.dumps(about), 0)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, flow: FlowName) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"Flow {flow!r} is in use by {_holder(handle)}. Wait until it ends; `pipeline status` shows its progress."
        ) from None


def _holder(handle: int) -> str:
    try:
        about = orjson.loads(os.pread(handle, 4096, 0))
    except orjson.JSONDecodeError:
        return "another process"  # the holder has not written its name yet
    return f"process {about['pid']} on {about['host']} since {about['since']}"
