"""What is not done when a record is applied: it comes before or after, and may come in a later load.

- Permissions and times of directories: putting something into a directory changes its time and needs its permissions.
  So what it has is noted before it is touched, and set when the stream is finished.
- Directories to be removed that still hold something, and records that something stands in the way of.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from blake3 import blake3

from pipeline.connectors.files.loading.records import InvalidRecordError, RejectedRecord, Upsert, parse_upsert
from pipeline.connectors.files.loading.state_db import DirectoryStatus, ImportState
from pipeline.connectors.files.loading.tree_writer import OWNER_ALL, BlockedPathError, TargetTree
from pipeline.connectors.files.tree import Kind
from pipeline.domain.ids import EventFileId, FlowName, StreamName


class DeferredWork:
    """What one Flow owes its tree beside the records. Its methods block, and MAY be called from several threads."""

    def __init__(self, tree: TargetTree, state: ImportState, flow: FlowName) -> None:
        self._tree = tree
        self._state = state
        self._flow = flow
        self._lock = threading.Lock()

    def kept_name(self, stream: StreamName, key: str) -> str:
        """The name under which the content of a record that was set aside is kept."""
        return "kept-" + blake3(f"{self._flow}\0{stream}\0{key}".encode("utf-8", "surrogatepass")).hexdigest(length=16)

    def prepare(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Note what the directories on the way to `paths` have, and make them usable for the load."""
        parents = {path.rpartition(b"/")[0] for path in paths}
        noted: list[DirectoryStatus] = []
        for path, status in self._existing(parents):
            mode = stat.S_IMODE(status.st_mode)
            usable = mode & OWNER_ALL == OWNER_ALL
            if path in parents or not usable:
                noted.append(DirectoryStatus(path, mode, status.st_mtime_ns))
            if not usable:
                self._state.note_directories(stream, noted, replace=False)
                self._tree.set_directory(path, mode | OWNER_ALL)
                noted = []
        self._state.note_directories(stream, noted, replace=False)

    def _existing(self, parents: set[bytes]) -> Iterator[tuple[bytes, os.stat_result]]:
        """Give the directories that there are on the way to `parents`, and these: each once, outer ones first.

        Below one that is not there nothing is looked for: a path may have as many levels as it has letters.
        """
        seen: set[bytes] = set()
        for parent in sorted(parents):
            for path in _from_outside(parent):
                if path in seen:
                    continue
                status = self._tree.directory_status(path)
                if status is None:
                    break
                seen.add(path)
                yield path, status

    def remove_emptied(self, stream: StreamName) -> Sequence[bytes]:
        """Remove the directories that had to wait for it; return those that still hold something."""
        with self._lock:
            waiting = self._state.removals(stream)
            if not waiting:
                return ()
            self.prepare(stream, waiting)
            remaining = [path for path in waiting if not self._is_removed(path)]
            gone = set(waiting).difference(remaining)
            self._state.drop_removals(stream, gone)
            self._state.drop_directories(stream, gone)
            return remaining

    def _is_removed(self, path: bytes) -> bool:
        try:
            self._tree.remove(path)
        except BlockedPathError:
            return False
        return True

    def place_kept(self, stream: StreamName, *, only_waiting: bool) -> Sequence[tuple[EventFileId, RejectedRecord]]:
        """Try the records again that were set aside; return those that still are, with what hinders them now."""
        with self._lock:
            remaining: list[tuple[EventFileId, RejectedRecord]] = []
            for file, record in self._state.rejected(stream):
                if only_waiting and not record.waits:
                    continue
                try:
                    self._place(stream, record)
                except (InvalidRecordError, BlockedPathError) as error:
                    remaining.append((file, replace(record, reason=str(error))))
                else:
                    self._state.forget(stream, [record.key])
            return remaining

    def _place(self, stream: StreamName, record: RejectedRecord) -> None:
        upsert = parse_upsert(record.raw, record.line)
        kept = self.kept_name(stream, record.key)
        self.prepare(stream, [upsert.path])
        match upsert.kind:
            case Kind.DIRECTORY:
                self._tree.make_directory(upsert)
                self._state.note_directories(stream, [final_status(upsert)], replace=True)
            case Kind.SYMLINK:
                self._tree.make_link(upsert, kept)
            case Kind.FILE if self._tree.incoming.has(kept):
                self._tree.install(upsert, kept)
            case Kind.FILE if not self._tree.holds(upsert):
                raise InvalidRecordError(record.reason, record.column)

    def forget(self, stream: StreamName, keys: Iterable[str]) -> None:
        """Records with these keys have gone in: drop what was set aside under them."""
        for key in self._state.forget(stream, keys):
            self._tree.incoming.discard(self.kept_name(stream, key))

    def set_directories(self, stream: StreamName) -> None:
        """Give the directories what was noted for them, the innermost first."""
        statuses = self._state.directories(stream)
        for status in statuses:
            self._tree.set_directory(status.path, status.mode, status.mtime_ns)
        self._state.drop_directories(stream, [status.path for status in statuses])


def final_status(upsert: Upsert) -> DirectoryStatus:
    """Return what a directory gets when its stream is finished."""
    return DirectoryStatus(upsert.path, upsert.mode, upsert.mtime_ns)


def _from_outside(path: bytes) -> Iterator[bytes]:
    """Give all that is above `path`, without the root, from the outside inwards, and `path` itself."""
    end = path.find(b"/")
    while end >= 0:
        yield path[:end]
        end = path.find(b"/", end + 1)
    if path:
        yield path
