"""Asks an SQLite database whether it can be written to, without changing it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

from anyio.to_thread import run_sync

from pipeline.connectors.sqlite.connection import location_of, open_destination, require_directory
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.paths import exists
from pipeline.ports.checks import PlaceFacts
from pipeline.sqlite_access import translated

_WAIT_SECONDS = 2.0


async def probe(path: Path) -> PlaceFacts:
    """Create a table in a transaction that is rolled back. TransientError when the database is locked."""
    return await run_sync(_probe, path)


def _probe(path: Path) -> PlaceFacts:
    place, directory = location_of(path), path.parent
    try:
        require_directory(path)
    except ConfigurationError as error:
        return PlaceFacts(str(error))
    free = shutil.disk_usage(directory).free
    if not exists(path):
        writable = os.access(directory, os.W_OK)
        return PlaceFacts("" if writable else f"{place} cannot be created: the directory is not writable", free)
    try:
        with closing(open_destination(path, _WAIT_SECONDS)) as connection, translated(place):
            connection.execute("BEGIN IMMEDIATE; CREATE TABLE _pipeline_check (x); ROLLBACK").fetchall()
    except (ConfigurationError, RefusedError) as error:
        return PlaceFacts(str(error), free)
    return PlaceFacts(free_bytes=free)
