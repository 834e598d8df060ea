"""The staging area: the directory in which files and links are complete before they are moved into the tree."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from pipeline.connectors.files.directories import closing_fd, directory
from pipeline.connectors.files.errors import translated
from pipeline.connectors.files.loading.records import InvalidRecordError
from pipeline.sparse_files import write_sparse

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingArea:
    """The open directory `fd`. Methods block, and MAY be called from several threads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, staged: str, data: bytes) -> None:
        """Append to a staged file; the first call creates it. Blocks of zeros become holes.

        InvalidRecordError when the file system takes no file of this size.
        """
        place = "a staged file at the destination"
        with translated(place), closing_fd(os.open(staged, _WRITE, 0o600, dir_fd=self.fd)) as fd:
            try:
                write_sparse(fd, data, os.fstat(fd).st_size)
            except OSError as error:
                if error.errno != errno.EFBIG:
                    raise
                reason = "the file is larger than this file system, or a limit of this user, allows"
                raise InvalidRecordError(reason, "size") from error

    def keep(self, staged: str, kept: str) -> None:
        """Rename a staged file, so that a later attempt finds it as `kept`."""
        with translated("the content of a rejected record at the destination"):
            os.rename(staged, kept, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def has(self, staged: str) -> bool:
        """Whether this staged file exists."""
        try:
            os.stat(staged, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def discard(self, staged: str) -> None:
        """Remove a staged entry, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=self.fd)

    def discard_all(self, prefix: str) -> None:
        """Remove the entries that an interrupted load left, those whose names begin with `prefix`."""
        place = "the remains of an interrupted load at the destination"
        with translated(place), directory(self.fd, b"") as fd, os.scandir(fd) as entries:
            for name in [entry.name for entry in entries if entry.name.startswith(prefix)]:
                self.discard(name)
