"""Asks a directory whether it can be written to, without leaving anything in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from anyio.to_thread import run_sync

from pipeline.paths import is_directory
from pipeline.ports.checks import PlaceFacts


async def probe(path: Path) -> PlaceFacts:
    """Make a file without a name in the directory, or in the one above if it does not exist yet."""
    return await run_sync(_probe, path)


def _probe(path: Path) -> PlaceFacts:
    directory = path if is_directory(path) else path.parent
    if not is_directory(directory):
        return PlaceFacts(f"there is no directory {directory}; create it, or check the path")
    free = shutil.disk_usage(directory).free
    try:
        with tempfile.TemporaryFile(dir=directory):
            return PlaceFacts(free_bytes=free)
    except OSError as error:
        return PlaceFacts(f"nothing can be created in {directory}: {error.strerror}", free)
