"""The health file of a worker: while it is fresh, the worker's event loop turns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import orjson

from pipeline.domain.errors import ConfigurationError

HEALTH_SECONDS = 5.0
"""How often it is written. A worker whose file is older than three times this is not well."""


async def tell_health(
    path: Path, worker: str, role: str, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Write the file every `HEALTH_SECONDS` until cancelled, and remove it then: a worker that has gone is not well.

    ConfigurationError when it cannot be written at the start.
    """
    place = anyio.Path(path)
    started = datetime.now(UTC)
    first = True
    try:
        while True:
            document = {
                "worker": worker, "role": role, "status": "draining" if stop.is_set() else "running",
                "started": started, "updated": datetime.now(UTC),
            }  # fmt: skip
            await _replace(place, orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
            if first:
                first = False
                task_status.started()
            await anyio.sleep(HEALTH_SECONDS)
    finally:
        with anyio.CancelScope(shield=True):
            await place.unlink(missing_ok=True)
            await _beside(place).unlink(missing_ok=True)


async def _replace(place: anyio.Path, data: bytes) -> None:
    beside = _beside(place)
    try:
        await beside.write_bytes(data)
        await beside.replace(place)
    except OSError as error:
        raise ConfigurationError(f"The health file {place} cannot be written: {error.strerror}.") from error


def _beside(place: anyio.Path) -> anyio.Path:
    """Where it is written before it takes the other one's place."""
    return place.with_name(place.name + ".new")
