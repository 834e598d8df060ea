"""Unnamed temporary files, for what is too large to hold and has to be read once more."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pipeline.connectors.files.errors import translated


@contextmanager
def open_spool() -> Iterator[IO[bytes]]:
    """Hold an unnamed temporary file open; it is gone with its last descriptor, however the process ends."""
    with translated(_what()):
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - only the making of it is translated
    with spool:
        yield spool


def write_spool(spool: IO[bytes], data: bytes) -> None:
    """Append `data`, and leave nothing in the buffer of the file object, where pread would not find it."""
    with translated(_what()):
        spool.write(data)
        spool.flush()


def _what() -> str:
    return f"a temporary file in {tempfile.gettempdir()!r}"
