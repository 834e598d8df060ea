"""Temporary files: where an object is written before it takes its name.

Each is locked by its writer for as long as that process lives, so what a killed process left behind can be told from
what is being written, and is removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import time
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from blake3 import blake3

from pipeline.ports.object_store import Version

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SETTLING_SECONDS = 60.0
"""A temporary file younger than this is left alone: it may be between its creation and its lock."""


class TempFile(FileIO):
    """A new file under a name of its own, which knows the version of what was written to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / token_hex(16)
        super().__init__(self.path, "xb")
        fcntl.flock(self.fileno(), fcntl.LOCK_EX)
        self._digest = blake3()

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`; a plain FileIO may write less."""
        rest = memoryview(data)
        self._digest.update(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(memoryview(data))

    def sync(self) -> Version:
        """Make what was written survive the loss of power, and return its version."""
        os.fsync(self.fileno())
        return Version(self._digest.hexdigest())

    def discard(self) -> None:
        """Close the file and remove its temporary name. Idempotent; the object it has become stays."""
        self.path.unlink(missing_ok=True)
        self.close()


def remove_abandoned(directory: Path) -> None:
    """Remove the temporary files whose writers are dead."""
    for path in directory.iterdir():
        try:
            with FileIO(path) as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(file.fileno()).st_mtime > _SETTLING_SECONDS:
                    path.unlink()
        except (FileNotFoundError, BlockingIOError):
            continue  # finished meanwhile, or alive
