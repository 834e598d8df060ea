"""Where files and links lie until they are complete: a directory of the connector's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipeline.connectors.files.directories import directory
from pipeline.connectors.files.errors import translated

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingArea:
    """The open directory `fd`. Its methods block, and MAY be called from several threads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, staged: str, data: bytes) -> None:
        """Append to a staged file, which is made with the first call."""
        with translated("a file on its way into the destination"), _opened(self.fd, staged) as fd:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]

    def keep(self, staged: str, kept: str) -> None:
        """Give a staged file the name under which a later attempt finds it."""
        with translated("a file set aside at the destination"):
            os.rename(staged, kept, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def has(self, staged: str) -> bool:
        """Whether there is such a staged file."""
        try:
            os.stat(staged, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def discard(self, staged: str) -> None:
        """Remove a staged entry, if it is still there."""
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=self.fd)

    def discard_all(self, prefix: str) -> None:
        """Remove what an interrupted load left behind."""
        what = "what an interrupted load left at the destination"
        with translated(what), directory(self.fd, b"") as fd, os.scandir(fd) as entries:
            for name in [entry.name for entry in entries if entry.name.startswith(prefix)]:
                self.discard(name)


@contextmanager
def _opened(directory_fd: int, staged: str) -> Iterator[int]:
    fd = os.open(staged, _APPEND, 0o600, dir_fd=directory_fd)
    try:
        yield fd
    finally:
        os.close(fd)
