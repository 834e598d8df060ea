"""One mover a Flow: a lock that the kernel gives back however its holder ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName


@contextmanager
def hold_flow_lock(path: Path, flow: FlowName) -> Iterator[None]:
    """Hold the lock file `path` while the body runs. ConfigurationError names the process that holds it already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"Flow {flow!r} is being moved already, by {_holder(handle)}. Wait for it to end; "
                "`pipeline status` shows how far it is."
            ) from None
        os.ftruncate(handle, 0)
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC)}
        os.pwrite(handle, orjson.dumps(about), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        about = orjson.loads(os.pread(handle, 4096, 0))
    except orjson.JSONDecodeError:
        return "another process"  # it holds the lock and has not written its name yet
    return f"process {about['pid']} on {about['host']} since {about['since']}"
