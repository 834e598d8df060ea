"""The health file of a worker: while it is fresh, the worker's event loop runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import orjson

from pipeline.domain.errors import ConfigurationError

HEALTH_SECONDS = 5.0
"""How often the file is written. A worker whose file is three times older than this is not well."""


async def write_health(
    path: Path, worker: str, role: str, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Write the file every `HEALTH_SECONDS` until cancelled, and then remove it.

    `task_status` is started after the first write. ConfigurationError when the file cannot be written.
    """
    file = anyio.Path(path)
    new = file.with_name(file.name + ".new")
    started = datetime.now(UTC)
    first = True
    try:
        while True:
            document = {
                "worker": worker, "role": role, "status": "draining" if stop.is_set() else "running",
                "started": started, "updated": datetime.now(UTC),
            }  # fmt: skip
            await _replace(file, new, orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
            if first:
                first = False
                task_status.started()
            await anyio.sleep(HEALTH_SECONDS)
    finally:
        with anyio.CancelScope(shield=True):
            await file.unlink(missing_ok=True)
            await new.unlink(missing_ok=True)


async def _replace(file: anyio.Path, new: anyio.Path, data: bytes) -> None:
    try:
        await new.write_bytes(data)
        await new.replace(file)
    except OSError as error:
        raise ConfigurationError(f"The health file {file} cannot be written: {error.strerror}.") from error
