"""A directory as a destination for a tree.

A directory has no transactions. Records are applied first and the mark is written last, after everything is durable:
at-least-once, which is harmless because records are idempotent. Two workers never load one Event File at once: each holds
a lock on it for the whole load, which the operating system releases when a worker dies.

The connector's own files are in `.pipeline-import` below the root: the marks, the locks, and the staging area `incoming`.
Owners and groups are not carried over: new entries belong to the user who runs the import.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import anyio
from anyio import to_thread
from blake3 import blake3

from pipeline.connectors.files.directories import closing_fd, directory, open_root
from pipeline.connectors.files.errors import translate, translated
from pipeline.connectors.files.loading.deferred import DeferredWork
from pipeline.connectors.files.loading.file_load import FileLoad
from pipeline.connectors.files.loading.staging import StagingArea
from pipeline.connectors.files.loading.state_db import StateDb, read_marks
from pipeline.connectors.files.loading.tree_writer import ListedName, TreeWriter, exact_name, folded_name
from pipeline.connectors.files.mounts import ensure_mounted
from pipeline.connectors.files.names import METADATA_NAME, location_of, shown
from pipeline.connectors.files.schema import check_schema
from pipeline.domain.errors import ConfigurationError, RefusedError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.paths import is_directory
from pipeline.ports.destination import (
    Choose,
    FileToLoad,
    GaveWay,
    KeptRecord,
    Loaded,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)

_STAGING = METADATA_NAME + b"/incoming"
_LOCKS = METADATA_NAME + b"/locks"
_STATE_FILE = "state.db"
LOCK_WAIT_SECONDS = 30.0
"""How long a load waits for another one of the same Event File: two workers that meet at one file take less, mostly."""
LOCK_POLL_SECONDS, LOCK_SHOWN_SECONDS = 0.1, 5.0


class FilesDestination:
    """The directory `root` as a Destination.

    `listed_name` says how the file system lists the entry that it finds under a name. By default, opening the
    destination finds out whether the file system distinguishes upper and lower case.
    """

    def __init__(self, root: Path, *, listed_name: ListedName | None = None) -> None:
        self._root = root
        self._listed_name = listed_name

    @property
    def location(self) -> str:
        return location_of(self._root)

    @property
    def _state_path(self) -> Path:
        return self._root / os.fsdecode(METADATA_NAME) / _STATE_FILE

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return all marks of the Flow from the state file, opened for reading only."""
        return await to_thread.run_sync(self._read_marks, flow, wait_seconds, abandon_on_cancel=True)

    def _read_marks(self, flow: FlowName, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        if not is_directory(self._root):
            raise ConfigurationError(f"{self.location}: there is no such directory; check the path")
        return read_marks(self._state_path, flow, wait_seconds=wait_seconds)

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[FilesSession]:
        """Open the directory, and create it if its parent exists. RefusedError when its file system is not mounted."""
        await to_thread.run_sync(ensure_mounted, self._root, abandon_on_cancel=True)
        with closing_fd(await to_thread.run_sync(_open_or_create, self._root)) as root_fd:
            await to_thread.run_sync(_make_metadata, self._root, root_fd)
            with (
                directory(root_fd, _STAGING) as staging_fd,
                directory(root_fd, _LOCKS) as locks_fd,
                closing(await to_thread.run_sync(StateDb, self._state_path, flow)) as state,
            ):
                listed_name = self._listed_name
                if listed_name is None:
                    listed_name = await to_thread.run_sync(_listed_name_of, root_fd)
                yield FilesSession(flow, TreeWriter(root_fd, StagingArea(staging_fd), listed_name), state, locks_fd)


class FilesSession:
    """An open directory: a DestinationSession."""

    def __init__(self, flow: FlowName, tree: TreeWriter, state: StateDb, locks_fd: int) -> None:
        self._flow = flow
        self._tree = tree
        self._state = state
        self._locks_fd = locks_fd
        self._deferred = DeferredWork(tree, state, flow)

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await to_thread.run_sync(self._state.marks)

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        return await to_thread.run_sync(self._state.loaded_streams, flow)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Apply one Event File, then mark it."""
        skipped_columns = check_schema(file.header.schema)
        id_ = file.entry.id
        name = blake3(f"{self._flow}\0{id_}".encode("utf-8", "surrogatepass")).hexdigest(length=16)
        async with _lock(self._locks_fd, name, f"Event File {id_}"):
            reason = await to_thread.run_sync(self._state.reason_to_give_way, id_, after, file.movement)
            if reason is not None:
                return GaveWay(reason)
            load = FileLoad(self._tree, self._state, self._deferred, file, prefix=name)
            mark, rejections = await load.apply()
            with file.committing():
                reason = await to_thread.run_sync(self._state.mark, id_, after, mark)
        return Loaded(mark, rejections, skipped_columns) if reason is None else GaveWay(reason)

    async def fence(self, movement: int) -> None:
        await to_thread.run_sync(self._state.fence, movement)

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Retry all pending records, those that only wait included."""
        return await self.retry_chosen(lambda rejection: True)

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        return await to_thread.run_sync(self._retry_chosen, chosen)

    async def rejected(self) -> Sequence[KeptRecord]:
        return await to_thread.run_sync(self._kept_records)

    def _kept_records(self) -> Sequence[KeptRecord]:
        return [
            KeptRecord(record.rejection(file), record.raw, ("path",))
            for stream in self._state.pending_streams()
            for file, record in self._state.pending(stream)
            if not record.waits
        ]

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        """Refuse: what an entry is, and its content, are as they are at the source."""
        raise ConfigurationError(
            f"Entries of a tree are corrected at the source, such as {corrected[0].rejection.key}; then move again."
        )

    def _retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        rejections: list[Rejection] = []
        for stream in self._state.pending_streams():
            self._deferred.remove_emptied(stream)
            remaining = self._deferred.retry_pending(stream, only_waiting=False, chosen=chosen)
            rejections.extend(record.rejection(file) for file, record in remaining)
            self._deferred.set_directories(stream)  # a Movement that imports nothing does not finish the stream
        return rejections

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        """Set the permissions and times of directories.

        A violation is an entry that the source no longer has and that cannot be removed, such as a directory with entries
        that no Movement brought, and a directory whose permissions or time cannot be set. Each is tried again.
        """
        return await to_thread.run_sync(self._finish, streams)

    def _finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        violations: list[Violation] = []
        for stream in streams:
            for path, reason in self._deferred.remove_emptied(stream).items():
                message = f"{shown(path)!r} is gone from the source, and stays here: {reason}; remove it yourself"
                violations.append(Violation(stream, message))
            self._deferred.retry_pending(stream, only_waiting=True)
            violations.extend(
                Violation(stream, f"a directory keeps its permissions and time: {reason}")
                for reason in self._deferred.set_directories(stream)
            )
        self._tree.sync()
        return violations

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        """Return what the copies of entries lack: set-uid bits, access control lists, capabilities and others."""
        return await to_thread.run_sync(self._state.not_moved)


def _open_or_create(root: Path) -> int:
    what = location_of(root)
    try:
        root.mkdir(exist_ok=True)
        fd = open_root(root)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{what}: its parent directory does not exist; create it, or check the path"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        if not root.exists():
            raise ConfigurationError(
                f"{root}: this is a link to {what}, which is not there; create that directory, or correct the link"
            ) from error
        raise ConfigurationError(f"{what}: this is not a directory; name a directory to move the tree to") from error
    except OSError as error:
        raise translate(error, what) from error
    if not os.access(root, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        os.close(fd)
        raise RefusedError(f"{what}: it is not writable; grant this user the permission, then run the command again")
    return fd


def _make_metadata(root: Path, root_fd: int) -> None:
    """Create the connector's own directories. A link in place of one is an error: it could lead anywhere."""
    for path in (METADATA_NAME, _STAGING, _LOCKS):
        what = f"{shown(path)!r} in {location_of(root)}"
        parent, _, name = path.rpartition(b"/")
        with translated(what), directory(root_fd, parent) as parent_fd:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent_fd)
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                raise RefusedError(f"{what}: a file or link has the name of the directory for marks; remove it")


def _listed_name_of(root_fd: int) -> ListedName:
    """Find out whether a name in other letters opens the same directory."""
    try:
        os.stat(METADATA_NAME.upper(), dir_fd=root_fd)
    except FileNotFoundError:
        return exact_name
    return folded_name


@asynccontextmanager
async def _lock(locks_fd: int, name: str, what: str) -> AsyncIterator[None]:
    """Hold the lock `name`. TransientError that names `what` when another worker has it and has not run for `LOCK_WAIT_SECONDS`.

    A worker that runs shows it by the time of its lock file: a load may take long. No lock file is left. The
    package `filelock` is not used: it takes paths, not a name in an open directory.
    """
    deadline, shown_at = anyio.current_time() + LOCK_WAIT_SECONDS, None
    while (fd := _try_lock(locks_fd, name)) is None:
        if shown_at != (shown_at := _time_of(locks_fd, name)):
            deadline = anyio.current_time() + LOCK_WAIT_SECONDS
        if anyio.current_time() >= deadline:
            # Not GaveWay: the other load may fail, and a file that gave way without a mark counts as failed.
            raise TransientError(f"another worker is loading {what}; run the command again")
        await anyio.sleep(LOCK_POLL_SECONDS)
    with closing_fd(fd):
        try:
            with unwrap_exception_group():
                async with anyio.create_task_group() as beside:
                    beside.start_soon(_show_running, fd, name=f"hold {what}")
                    yield
                    beside.cancel_scope.cancel()
        finally:
            os.unlink(name, dir_fd=locks_fd)


async def _show_running(fd: int) -> None:
    while True:
        os.utime(fd)
        await anyio.sleep(LOCK_SHOWN_SECONDS)


def _time_of(locks_fd: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=locks_fd, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return None


def _try_lock(locks_fd: int, name: str) -> int | None:
    """Return the open lock file, or None when another worker has it.

    The holder removes the lock file, so a lock may be on a file that no longer has the name; it is void then.
    """
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=locks_fd)
    locked = False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = os.fstat(fd).st_nlink > 0
    except BlockingIOError:
        return None
    finally:
        if not locked:
            os.close(fd)
    return fd if locked else None
