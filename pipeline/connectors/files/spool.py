"""Unnamed temporary files, for data that is too large to hold in memory and is read a second time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pipeline.connectors.files.errors import translated


@contextmanager
def open_spool() -> Iterator[IO[bytes]]:
    """Hold an unnamed temporary file open. It is gone with its last descriptor, however the process ends."""
    with translated(_place()):
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - only its creation is translated
    with spool:
        yield spool


def write_spool(spool: IO[bytes], data: bytes) -> None:
    """Append `data` and flush the buffer of the file object, which pread does not see."""
    with translated(_place()):
        spool.write(data)
        spool.flush()


def _place() -> str:
    return f"a temporary file in {tempfile.gettempdir()!r}"
