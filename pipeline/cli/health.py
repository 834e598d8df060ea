"""The health file of a worker: while it is fresh the event loop runs, and its `status` says whether all services answer."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import orjson

from pipeline.assembly.commands.workers import Worker
from pipeline.domain.errors import ConfigurationError
from pipeline.log_events import log

HEALTH_SECONDS = 5.0
"""How often the file is written. A worker whose file is three times older than this is not well."""


async def write_health(
    path: Path, worker: Worker, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Write the file every `HEALTH_SECONDS` until cancelled, and then remove it.

    `task_status` is started after the first write. ConfigurationError when that one fails; a later one (the disk is
    full) is logged, and must not end the worker.
    """
    file = anyio.Path(path)
    new = file.with_name(file.name + ".new")
    started = datetime.now(UTC)
    try:
        await _write(file, new, worker, stop, started)
        task_status.started()
        while True:
            await anyio.sleep(HEALTH_SECONDS)
            try:
                await _write(file, new, worker, stop, started)
            except ConfigurationError as error:
                log.warning("health_write_failed", reason=str(error))
    finally:
        with anyio.CancelScope(shield=True), suppress(OSError):
            await new.unlink(missing_ok=True)
            await file.unlink(missing_ok=True)


async def _write(file: anyio.Path, new: anyio.Path, worker: Worker, stop: anyio.Event, started: datetime) -> None:
    missing = worker.missing()
    status = "draining" if stop.is_set() else "not_answered" if missing else "running"
    document = {
        "worker": worker.name, "role": worker.role.value, "status": status, "not_answering": missing,
        "started": started, "updated": datetime.now(UTC),
    }  # fmt: skip
    try:
        await new.write_bytes(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
        await new.replace(file)
    except OSError as error:
        raise ConfigurationError(f"The health file {file} cannot be written: {error.strerror}.") from error
