"""Writing to the tree in single steps, each of which leaves the old entry or the new one, never half of one.

No step follows a symbolic link below the root. New entries are created in the staging area and renamed into place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress

from blake3 import blake3

from pipeline.connectors.files.attributes import SET_ID, kept_mode, lost_bits
from pipeline.connectors.files.directories import (
    Parents,
    closing_fd,
    directory,
    from_outside,
    open_child,
    open_directory,
    open_file,
)
from pipeline.connectors.files.errors import GONE, INVALID_NAMES, OF_ONE_PATH, translate, translated
from pipeline.connectors.files.loading.records import InvalidRecordError, Upsert
from pipeline.connectors.files.loading.staging import StagingArea
from pipeline.connectors.files.names import METADATA_NAME, shown
from pipeline.connectors.files.tree import Kind
from pipeline.domain.errors import RefusedError
from pipeline.sparse_files import write_sparse

OWNER_ALL = stat.S_IRWXU
_PIECE_BYTES = 1024 * 1024
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})

ListedName = Callable[[int, bytes], bytes]
"""Returns the name under which an open directory lists the entry that it finds as `name`; `name` when it finds none."""


class BlockedPathError(Exception):
    """An entry at the destination blocks the path of a record, and may be gone later.

    `waits`: it is a directory whose entries later records of the stream may remove.
    """

    def __init__(self, reason: str, *, waits: bool = False) -> None:
        super().__init__(reason)
        self.waits = waits


class AbsentPathError(BlockedPathError):
    """There is no such entry at the destination, or a file or a link is in its path."""


def near_name(path: bytes) -> bytes:
    """Return the name under which an entry is complete beside its place, where it cannot be renamed from the staging area.

    The load that is repeated after a kill uses the same name, so nothing is left.
    """
    return METADATA_NAME + b"-" + blake3(path).hexdigest(length=16).encode()


def exact_name(_fd: int, name: bytes) -> bytes:
    """The ListedName of a file system for which different names are different entries."""
    return name


def folded_name(fd: int, name: bytes) -> bytes:
    """The ListedName of a file system for which different names may be one entry. It reads the directory."""
    try:
        inode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
    except OSError:
        return name
    with os.scandir(fd) as entries:
        names = [os.fsencode(entry.name) for entry in entries if entry.inode() == inode]
    return name if name in names or not names else names[0]


class TreeWriter:
    """The tree below an open root; `staging` is on the root's file system.

    Methods block, and MAY be called from several threads. They raise InvalidRecordError for a name that the file system
    cannot hold, BlockedPathError for an entry that cannot be changed now, and RefusedError or TransientError for an error of
    the destination as a whole.
    """

    def __init__(self, root_fd: int, staging: StagingArea, listed_name: ListedName) -> None:
        self._root_fd = root_fd
        self.staging = staging
        self._listed_name = listed_name
        # Where two names may be one entry, the check that a name is free and its use must be one step.
        self._placing = threading.Lock() if self.folds_names else nullcontext()
        self._spans_devices = False

    @property
    def folds_names(self) -> bool:
        """Whether two names may be one entry to the file system."""
        return self._listed_name is not exact_name

    def directory_status(self, path: bytes) -> os.stat_result | None:
        """Return the status of the directory at `path`, or None when there is none."""
        parent, _, name = path.rpartition(b"/")
        try:
            with directory(self._root_fd, parent) as parent_fd:
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in GONE | INVALID_NAMES | OF_ONE_PATH:
                return None
            raise translate(error, f"the directory {shown(path)!r} at the destination") from error
        return status if stat.S_ISDIR(status.st_mode) else None

    def set_directory(self, path: bytes, mode: int, mtime_ns: int | None = None) -> None:
        """Set a directory's permissions and time where they differ, if it exists.

        To set the same permissions again would take a set-gid bit off, if this user is not in the group.
        """
        status = self.directory_status(path)
        if status is None:
            return
        with suppress(AbsentPathError), self._step(path), Parents(self._root_fd) as parents:
            parent_fd, name = parents.of(path)
            if mtime_ns not in (None, status.st_mtime_ns):
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
            if mode != stat.S_IMODE(status.st_mode):
                os.chmod(name, mode, dir_fd=parent_fd)

    def not_moved(self, record: Upsert) -> Iterator[tuple[str, str]]:
        """Yield the kind and name of all that the placed entry of a record lacks."""
        if record.mode & SET_ID:
            yield from lost_bits(record.mode, self.kept_mode(record))
        yield from record.attributes.not_moved()

    def kept_mode(self, record: Upsert) -> int:
        """Return the permission bits of the placed entry of a record."""
        if not record.mode & SET_ID:
            return record.mode
        parent, _, name = record.path.rpartition(b"/")
        with self._step(record.path), directory(self._root_fd, parent) as parent_fd:
            return kept_mode(record.mode, record.attributes, os.stat(name, dir_fd=parent_fd, follow_symlinks=False))

    def remove(self, path: bytes) -> None:
        """Remove the entry at `path`, if it exists and no link leads to it."""
        parent, _, name = path.rpartition(b"/")
        try:
            with self._step(path), directory(self._root_fd, parent) as parent_fd, self._placing:
                if self._listed_name(parent_fd, name) == name:
                    self._clear(parent_fd, name, path)
        except (InvalidRecordError, AbsentPathError):
            return

    def make_directory(self, record: Upsert) -> None:
        """Create the directory unless it exists. A new one is for its owner alone until `set_directory`."""
        path = record.path
        with self._step(path), self.parents() as parents, self._placing:
            parent_fd, name = parents.of(path)
            self._check_name(parent_fd, name, path)
            status = _status(parent_fd, name)
            if status is None or not stat.S_ISDIR(status.st_mode):
                self._clear(parent_fd, name, path)
                with suppress(FileExistsError):  # made meanwhile for an entry below it
                    os.mkdir(name, OWNER_ALL, dir_fd=parent_fd)

    def make_link(self, record: Upsert, staged: str) -> None:
        """Create a symbolic link, as `staged` until it is in place."""
        assert record.target is not None
        self.staging.discard(staged)
        with self._step(record.path):
            os.symlink(record.target, staged, dir_fd=self.staging.fd)
            try:
                with self.parents() as parents:
                    self.install(record, staged, parents)
            finally:
                self.staging.discard(staged)

    def parents(self, *, create: bool = True) -> Parents:
        """Open directories below the root for changes of their entries. With `create`, those that are missing are created."""
        return Parents(self._root_fd, self._make_directories if create else open_directory)

    def holds(self, record: Upsert, parents: Parents) -> bool:
        """Whether the file exists with this time, size and content. If so, its permissions are set.

        Those of a file with other names are not: the names may be a person's, such as an earlier copy of the tree.
        """
        try:
            with self._step(record.path):
                parent_fd, name = parents.of(record.path)
                if not _is_alike(_status(parent_fd, name), record) or self._listed_name(parent_fd, name) != name:
                    return False
                with closing_fd(open_file(parents, record.path)) as fd:
                    status = os.fstat(fd)
                    if not _is_alike(status, record) or _digest(fd) != record.digest:
                        return False
                    mode = kept_mode(record.mode, record.attributes, status)
                    if mode != stat.S_IMODE(status.st_mode):
                        if status.st_nlink > 1:
                            return False
                        os.fchmod(fd, mode)
        except (BlockedPathError, InvalidRecordError, RefusedError):
            return False  # writing the file is right then, and reports the error if it persists
        return True

    def install(self, record: Upsert, staged: str, parents: Parents) -> None:
        """Rename a staged file or link to the record's path, with its permissions and time."""
        with self._step(record.path), self._placing:
            parent_fd, name = parents.of(record.path)
            self._check_name(parent_fd, name, record.path)
            _set_status(self.staging.fd, staged.encode(), record)
            try:
                self._rename(record, staged, parent_fd, name)
            except IsADirectoryError:
                self._clear(parent_fd, name, record.path)
                self._rename(record, staged, parent_fd, name)

    def _rename(self, record: Upsert, staged: str, parent_fd: int, name: bytes) -> None:
        try:
            os.rename(staged, name, src_dir_fd=self.staging.fd, dst_dir_fd=parent_fd)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._install_across(record, staged, parent_fd, name)

    def _install_across(self, record: Upsert, staged: str, parent_fd: int, name: bytes) -> None:
        """Install below a mount point in the tree: a rename cannot cross file systems."""
        self._spans_devices = True
        near = near_name(record.path)
        try:
            with suppress(FileNotFoundError):  # of a load that was killed
                os.unlink(near, dir_fd=parent_fd)
            if record.target is not None:
                os.symlink(record.target, near, dir_fd=parent_fd)
            else:
                _copy(self.staging.fd, staged.encode(), parent_fd, near)
            _set_status(parent_fd, near, record)
            os.rename(near, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(near, dir_fd=parent_fd)
            raise
        self.staging.discard(staged)

    def sync(self) -> None:
        """Make everything written durable, names included: one call for an Event File instead of two for each file.

        RefusedError when the device has lost what was written (since Linux 5.8), so no mark is written after it.
        """
        with translated("the destination, which could not keep what was written"):
            sync_file_system(self._root_fd)
        if self._spans_devices:
            os.sync()

    def _make_directories(self, root_fd: int, path: bytes) -> int:
        """Open the directory at `path`; it, and those that lead to it, are created if they are missing."""
        fd = open_child(root_fd, b".")
        for here in from_outside(path):
            name = here.rpartition(b"/")[2]
            with closing_fd(fd) as outer_fd:
                self._check_name(outer_fd, name, here)
                if _status(outer_fd, name) is None:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=outer_fd)
                fd = _enter(outer_fd, name, here)
        return fd

    def _check_name(self, fd: int, name: bytes, path: bytes) -> None:
        listed = self._listed_name(fd, name)
        if listed != name:
            raise BlockedPathError(
                f"{shown(path)!r}: {shown(listed)!r} exists, and to this file system both names are the same"
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
            reason = f"the directory {shown(path)!r} is not empty at the destination"
            raise BlockedPathError(reason, waits=True) from error

    @contextmanager
    def _step(self, path: bytes) -> Generator[None, None, None]:
        """Translate an error: it concerns this record for ever, this record for now, or the whole destination."""
        try:
            yield
        except OSError as error:
            if error.errno in INVALID_NAMES:
                raise InvalidRecordError(f"{shown(path)!r}: {error.strerror}", "path") from error
            if error.errno in GONE:
                raise AbsentPathError(f"{shown(path)!r}: {error.strerror}") from error
            translation = translate(error, f"{shown(path)!r} at the destination")
            raise (BlockedPathError(str(translation)) if error.errno in OF_ONE_PATH else translation) from error


def sync_file_system(fd: int) -> None:
    """Write everything that is in memory of the file system of `fd` to its device. OSError when that failed.

    All file systems are written where the kernel, or a sandbox, does not have the call for one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "syncfs"):
        if libc.syncfs(fd) == 0:
            return
        if (code := ctypes.get_errno()) not in (errno.ENOSYS, errno.EPERM):
            raise OSError(code, os.strerror(code))
    os.sync()


def _enter(fd: int, name: bytes, path: bytes) -> int:
    try:
        return open_child(fd, name)
    except OSError as error:
        if error.errno in GONE:
            reason = f"{shown(path)!r} is not a directory at the destination, but a file or a link"
            raise BlockedPathError(reason) from error
        raise


def _status(fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_alike(status: os.stat_result | None, record: Upsert) -> bool:
    """Whether this is the status of a file with the record's size and time."""
    return (
        status is not None
        and stat.S_ISREG(status.st_mode)
        and (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)
    )


def _set_status(fd: int, name: bytes, record: Upsert) -> None:
    if record.kind is Kind.FILE:
        mode = record.mode
        if mode & SET_ID:
            mode = kept_mode(mode, record.attributes, os.stat(name, dir_fd=fd, follow_symlinks=False))
        os.chmod(name, mode, dir_fd=fd)
    os.utime(name, ns=(record.mtime_ns, record.mtime_ns), dir_fd=fd, follow_symlinks=False)


def _copy(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    source = os.open(from_name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=from_fd)
    with os.fdopen(source, "rb") as reader:
        target = os.open(to_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=to_fd)
        end = 0
        with closing_fd(target):
            while piece := reader.read(_PIECE_BYTES):
                write_sparse(target, piece, end)
                end += len(piece)


def _digest(fd: int) -> str:
    digest = blake3()
    position = 0
    while piece := os.pread(fd, _PIECE_BYTES, position):
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest()
