"""Temporary files: an object is written to one before it gets its name.

The writer locks the file as long as it lives. So an unlocked file was left by a killed process, and the next process
removes it.
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
from pipeline.sparse_files import write_sparse

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SETTLING_SECONDS = 60.0
"""A younger temporary file is not removed: its writer may not have locked it yet."""


class TempFile(FileIO):
    """A new file with a random name. It computes the version of the bytes written to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / token_hex(16)
        super().__init__(self.path, "xb")
        fcntl.flock(self.fileno(), fcntl.LOCK_EX)
        self._digest = blake3()
        self._end = 0

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`; a plain FileIO may write less. Blocks of zeros become holes."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        write_sparse(self.fileno(), view, self._end)
        self._end += len(view)
        return len(view)

    def sync(self) -> Version:
        """Make the bytes survive a power failure, and return their version."""
        os.fsync(self.fileno())
        return Version(self._digest.hexdigest())

    def discard(self) -> None:
        """Close the file and remove its temporary name. Idempotent; an object linked to it stays."""
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
            continue  # its writer has finished, or still writes
