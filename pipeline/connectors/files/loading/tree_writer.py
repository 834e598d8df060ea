"""The tree that is written to: single steps, each of which leaves the old entry or the new one, never half of one.

No step follows a symbolic link below the root. New entries are made in the metadata directory and renamed into place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

from blake3 import blake3

from pipeline.connectors.files.directories import directory, open_directory, open_file
from pipeline.connectors.files.errors import GONE, UNACCEPTABLE_NAMES, translate
from pipeline.connectors.files.loading.records import InvalidRecordError, Upsert
from pipeline.connectors.files.loading.staging import StagingArea
from pipeline.connectors.files.names import METADATA_NAME, shown
from pipeline.connectors.files.tree import Kind
from pipeline.domain.errors import RefusedError

OWNER_ALL = stat.S_IRWXU
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})

ListedName = Callable[[int, bytes], bytes]
"""Tells under which name an open directory lists what it finds as `name`; `name` itself when it finds nothing."""


class BlockedPathError(Exception):
    """Something at the destination is in a record's way, and may be gone later.

    `waits`: it is a directory whose entries later records of the stream may remove.
    """

    def __init__(self, reason: str, *, waits: bool = False) -> None:
        super().__init__(reason)
        self.waits = waits


def exact_name(_fd: int, name: bytes) -> bytes:
    """The ListedName of a file system that tells all names apart."""
    return name


def folded_name(fd: int, name: bytes) -> bytes:
    """The ListedName of one that does not: it takes reading the directory."""
    try:
        inode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
    except OSError:
        return name
    with os.scandir(fd) as entries:
        names = [os.fsencode(entry.name) for entry in entries if entry.inode() == inode]
    return name if name in names or not names else names[0]


class TargetTree:
    """The tree below an open root; `incoming` is on the root's file system. Methods block; several threads MAY call them."""

    def __init__(self, root_fd: int, incoming: StagingArea, listed_name: ListedName) -> None:
        self._root_fd = root_fd
        self.incoming = incoming
        self._listed_name = listed_name
        # Looking whether a name is free and taking it must be one step where two names can be one.
        self._placing = threading.Lock()
        self._spans_devices = False

    @property
    def folds_names(self) -> bool:
        """Whether two names may be one to the file system."""
        return self._listed_name is not exact_name

    def directory_status(self, path: bytes) -> os.stat_result | None:
        """Return the status of the directory at `path`, or None when there is none."""
        parent, _, name = path.rpartition(b"/")
        try:
            with directory(self._root_fd, parent) as parent_fd:
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in GONE | UNACCEPTABLE_NAMES:
                return None
            raise translate(error, f"the directory {shown(path)!r} at the destination") from error
        return status if stat.S_ISDIR(status.st_mode) else None

    def set_directory(self, path: bytes, mode: int, mtime_ns: int | None = None) -> None:
        """Set a directory's permissions and time; one that is not there is passed over."""
        if self.directory_status(path) is None:
            return
        with suppress(BlockedPathError, InvalidRecordError), self._step(path), self._parent(path) as parent_fd:
            name = path.rpartition(b"/")[2]
            if mtime_ns is not None:
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
            os.chmod(name, mode, dir_fd=parent_fd)

    def remove(self, path: bytes) -> None:
        """Remove the entry at `path`; nothing there, or only something beyond a link, is fine.

        Obstructed when it is a directory that is not empty.
        """
        name = path.rpartition(b"/")[2]
        try:
            with self._step(path), directory(self._root_fd, path.rpartition(b"/")[0]) as parent_fd, self._placing:
                if self._listed_name(parent_fd, name) == name:
                    self._clear(parent_fd, name, path)
        except InvalidRecordError:
            return
        except BlockedPathError as obstacle:
            if obstacle.waits:
                raise

    def make_directory(self, record: Upsert) -> None:
        """See to it that there is a directory. A new one is for its owner alone until `set_directory`."""
        path = record.path
        name = path.rpartition(b"/")[2]
        with self._step(path), self._parent(path) as parent_fd, self._placing:
            self._check_name(parent_fd, name, path)
            status = _status(parent_fd, name)
            if status is None or not stat.S_ISDIR(status.st_mode):
                self._clear(parent_fd, name, path)
                os.mkdir(name, OWNER_ALL, dir_fd=parent_fd)

    def make_link(self, record: Upsert, staged: str) -> None:
        """Put a symbolic link in place; until it is there it has the name `staged`."""
        assert record.target is not None
        self.incoming.discard(staged)
        with self._step(record.path):
            os.symlink(record.target, staged, dir_fd=self.incoming.fd)
            try:
                self.install(record, staged)
            finally:
                self.incoming.discard(staged)

    def holds(self, record: Upsert) -> bool:
        """Whether the file is there already, with this time, size and content; its permissions are set then."""
        if record.size is None:
            return False
        try:
            with self._step(record.path), _opened(open_file(self._root_fd, record.path)) as fd:
                status = os.fstat(fd)
                same = stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
                    record.size,
                    record.mtime_ns,
                )
                parent, _, name = record.path.rpartition(b"/")
                with directory(self._root_fd, parent) as parent_fd:
                    same = same and self._listed_name(parent_fd, name) == name
                if not same or _digest(fd) != record.digest:
                    return False
                os.fchmod(fd, record.mode)
        except (BlockedPathError, InvalidRecordError, RefusedError):
            # Whatever hinders the look, writing the file anew is right, and says what is wrong if that is hindered too.
            return False
        return True

    def install(self, record: Upsert, staged: str) -> None:
        """Rename a staged file or link over what is at its place, with its permissions and time."""
        name = record.path.rpartition(b"/")[2]
        with self._step(record.path), self._parent(record.path) as parent_fd, self._placing:
            self._check_name(parent_fd, name, record.path)
            status = _status(parent_fd, name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self._clear(parent_fd, name, record.path)
            _dress(self.incoming.fd, staged.encode(), record)
            try:
                os.rename(staged, name, src_dir_fd=self.incoming.fd, dst_dir_fd=parent_fd)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._install_across(record, staged, parent_fd, name)

    def _install_across(self, record: Upsert, staged: str, parent_fd: int, name: bytes) -> None:
        """Install where another file system is mounted inside the tree: a rename does not lead there."""
        self._spans_devices = True
        near = METADATA_NAME + b"-" + staged.encode()
        try:
            if record.target is not None:
                os.symlink(record.target, near, dir_fd=parent_fd)
            else:
                _copy(self.incoming.fd, staged.encode(), parent_fd, near)
            _dress(parent_fd, near, record)
            os.rename(near, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(near, dir_fd=parent_fd)
            raise
        self.incoming.discard(staged)

    def sync(self) -> None:
        """Return when all that was written is durable: one call for a whole Event File instead of one a file."""
        syncfs = getattr(ctypes.CDLL(None), "syncfs", None)
        if syncfs is None or self._spans_devices or syncfs(self._root_fd) != 0:
            os.sync()

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[int]:
        """Hold the directory open that `path` is in; directories that are missing on the way are made."""
        fd = open_directory(self._root_fd, b"")
        try:
            done: list[bytes] = []
            for name in path.split(b"/")[:-1]:
                done.append(name)
                self._check_name(fd, name, b"/".join(done))
                if _status(fd, name) is None:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                outer, fd = fd, _enter(fd, name, b"/".join(done))
                os.close(outer)
            yield fd
        finally:
            os.close(fd)

    def _check_name(self, fd: int, name: bytes, path: bytes) -> None:
        listed = self._listed_name(fd, name)
        if listed != name:
            raise BlockedPathError(
                f"{shown(path)!r}: {shown(listed)!r} is there already, and this file system takes the two names for one"
            )

    def _clear(self, parent_fd: int, name: bytes, path: bytes) -> None:
        status = _status(parent_fd, name)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return
        try:
            os.rmdir(name, dir_fd=parent_fd)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise
            raise BlockedPathError(
                f"the directory {shown(path)!r} is not empty at the destination", waits=True
            ) from error

    @contextmanager
    def _step(self, path: bytes) -> Generator[None, None, None]:
        """Sort what goes wrong: with this record for good, for now, or with the destination as a whole."""
        try:
            yield
        except OSError as error:
            if error.errno in UNACCEPTABLE_NAMES:
                raise InvalidRecordError(f"{shown(path)!r}: {error.strerror}", "path") from error
            if error.errno in GONE:
                raise BlockedPathError(f"{shown(path)!r}: {error.strerror}") from error
            raise translate(error, f"{shown(path)!r} at the destination") from error


def _enter(fd: int, name: bytes, path: bytes) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        if error.errno in GONE:
            raise BlockedPathError(
                f"{shown(path)!r} is no directory at the destination, but a file or a link"
            ) from error
        raise


@contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _status(fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _dress(fd: int, name: bytes, record: Upsert) -> None:
    if record.kind is Kind.FILE:
        os.chmod(name, record.mode, dir_fd=fd)
    os.utime(name, ns=(record.mtime_ns, record.mtime_ns), dir_fd=fd, follow_symlinks=False)


def _copy(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    source = os.open(from_name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=from_fd)
    with os.fdopen(source, "rb") as reader:
        target = os.open(to_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=to_fd)
        with os.fdopen(target, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)


def _digest(fd: int) -> str:
    digest = blake3()
    position = 0
    while piece := os.pread(fd, 1024 * 1024, position):
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest()
