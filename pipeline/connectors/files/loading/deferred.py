"""The deferred work of an import into a tree, which may happen in a later load than the records that need it.

- Permissions and times of directories: to change an entry of a directory changes the directory's time and needs its
  permissions. So its status is stored before it is changed, and set when the stream is finished.
- Directories to remove that still have entries, and pending records.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from blake3 import blake3

from pipeline.connectors.files.directories import from_outside
from pipeline.connectors.files.loading.records import InvalidRecordError, PendingRecord, Upsert, parse_upsert
from pipeline.connectors.files.loading.state_db import DirectoryStatus, StateDb
from pipeline.connectors.files.loading.tree_writer import OWNER_ALL, BlockedPathError, TreeWriter
from pipeline.connectors.files.tree import Kind
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.ports.destination import Choose


class DeferredWork:
    """The deferred work of one Flow. Methods block, and MAY be called from several threads."""

    def __init__(self, tree: TreeWriter, state: StateDb, flow: FlowName) -> None:
        self._tree = tree
        self._state = state
        self._flow = flow
        self._lock = threading.Lock()

    def staged_name(self, stream: StreamName, key: str) -> str:
        """Return the name under which the content of a pending record stays in the staging area."""
        return "kept-" + blake3(f"{self._flow}\0{stream}\0{key}".encode("utf-8", "surrogatepass")).hexdigest(length=16)

    def prepare_directories(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Store the status of the directories that lead to `paths`, and let their owner write to them for the load."""
        parents = {path.rpartition(b"/")[0] for path in paths}
        stored: list[DirectoryStatus] = []
        seen: set[bytes] = set()
        for parent in sorted(parents):
            for path in from_outside(parent):
                if path in seen:
                    continue
                status = self._tree.directory_status(path)
                if status is None:
                    break  # nothing exists below it, and a path may have as many levels as it has letters
                seen.add(path)
                mode = stat.S_IMODE(status.st_mode)
                usable = mode & OWNER_ALL == OWNER_ALL
                if path in parents or not usable:
                    stored.append(DirectoryStatus(path, mode, status.st_mtime_ns))
                if not usable:
                    self._state.add_directories(stream, stored, replace=False)
                    with suppress(BlockedPathError):  # the records of its entries say so
                        self._tree.set_directory(path, mode | OWNER_ALL)
                    stored = []
        self._state.add_directories(stream, stored, replace=False)

    def remove_emptied(self, stream: StreamName) -> Mapping[bytes, str]:
        """Remove the entries whose removal was deferred; return those that cannot be removed now, with the reasons."""
        with self._lock:
            waiting = self._state.removals(stream)
            if not waiting:
                return {}
            self.prepare_directories(stream, waiting)
            remaining = {path: reason for path in waiting if (reason := self._why_not_removed(path))}
            gone = set(waiting) - remaining.keys()
            self._state.drop_removals(stream, gone)
            self._state.drop_directories(stream, gone)
            return remaining

    def _why_not_removed(self, path: bytes) -> str:
        try:
            self._tree.remove(path)
        except BlockedPathError as error:
            return str(error)
        return ""

    def retry_pending(
        self, stream: StreamName, *, only_waiting: bool, chosen: Choose = lambda rejection: True
    ) -> Sequence[tuple[EventFileId, PendingRecord]]:
        """Retry the chosen pending records, or those that wait; return those still pending, with their present reasons."""
        with self._lock:
            remaining: list[tuple[EventFileId, PendingRecord]] = []
            for file, record in self._state.pending(stream):
                if only_waiting and not record.waits:
                    continue
                if not chosen(record.rejection(file)):
                    remaining.append((file, record))
                    continue
                try:
                    self._apply(stream, record)
                except (InvalidRecordError, BlockedPathError) as error:
                    remaining.append((file, replace(record, reason=str(error))))
                else:
                    self._state.drop_pending(stream, [record.key])
            return remaining

    def _apply(self, stream: StreamName, record: PendingRecord) -> None:
        upsert = parse_upsert(record.raw, record.line)
        staged = self.staged_name(stream, record.key)
        self.prepare_directories(stream, [upsert.path])
        match upsert.kind:
            case Kind.DIRECTORY:
                self._tree.make_directory(upsert)
                self._state.add_directories(stream, [self.final_status(upsert)], replace=True)
            case Kind.SYMLINK:
                self._tree.make_link(upsert, staged)
            case Kind.FILE if self._tree.staging.has(staged):
                with self._tree.parents() as parents:
                    self._tree.install(upsert, staged, parents)
            case Kind.FILE:
                with self._tree.parents(create=False) as parents:
                    if not self._tree.holds(upsert, parents):
                        raise InvalidRecordError(record.reason, record.column)
        self._state.add_not_moved(stream, [(upsert.path, *found) for found in self._tree.not_moved(upsert)])

    def drop_pending(self, stream: StreamName, keys: Iterable[str]) -> None:
        """Drop the pending records with these keys, and their contents: later records with the keys are applied."""
        for key in self._state.drop_pending(stream, keys):
            self._tree.staging.discard(self.staged_name(stream, key))

    def set_directories(self, stream: StreamName) -> Sequence[str]:
        """Give the directories their final status, the innermost first; return why some cannot have it now."""
        done, reasons = [], []
        for status in self._state.directories(stream):
            try:
                self._tree.set_directory(status.path, status.mode, status.mtime_ns)
                done.append(status.path)
            except BlockedPathError as error:
                reasons.append(str(error))
        self._state.drop_directories(stream, done)
        return reasons

    def final_status(self, upsert: Upsert) -> DirectoryStatus:
        """Return the status that a directory, which exists, gets when its stream is finished."""
        return DirectoryStatus(upsert.path, self._tree.kept_mode(upsert), upsert.mtime_ns)
