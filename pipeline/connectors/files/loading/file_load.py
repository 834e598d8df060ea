"""Applying one Event File to a tree.

The lines are all read and checked before the first record is applied; meanwhile they lie in an unnamed temporary file.
Then come the deletes, from the innermost outwards, and after them the upserts in the order of the file: of each batch
the directories and links first, then the contents of its files, a few at a time. So an entry whose kind changes finds
its place free.

Two things may have to wait for a later Event File of the stream, because `a` stands in one and `a/x` in the next: a
directory to be removed that is not empty yet, and a file or link where such a directory stands. They are tried again
at the end of every load, and in the end by `retry_rejected` and `finish`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import IO

from anyio import to_thread

from pipeline.codec.values import key_text
from pipeline.connectors.files.concurrency import for_each
from pipeline.connectors.files.loading.deferred import DeferredWork, final_status
from pipeline.connectors.files.loading.records import (
    InvalidRecordError,
    Plan,
    RejectedRecord,
    Upsert,
    plan_block,
    planned_upserts,
)
from pipeline.connectors.files.loading.state_db import DirectoryStatus, ImportState
from pipeline.connectors.files.loading.tree_writer import BlockedPathError, TargetTree
from pipeline.connectors.files.names import from_bytes
from pipeline.connectors.files.spool import open_spool, write_spool
from pipeline.connectors.files.tree import Kind
from pipeline.domain.ids import BinaryId
from pipeline.ports.destination import FileToLoad, Mark, Rejection

CONTENTS_AT_ONCE = 4
BATCH_RECORDS = 500
WRITE_BYTES = 1024 * 1024


class EventFileLoad:
    """One Event File on its way into a tree. `prefix` begins the names of what it stages, and of nothing else."""

    def __init__(
        self, tree: TargetTree, state: ImportState, aftercare: DeferredWork, file: FileToLoad, prefix: str
    ) -> None:
        self._tree = tree
        self._state = state
        self._aftercare = aftercare
        self._file = file
        self._stream = file.entry.id.stream
        self._prefix = prefix
        self._plan = Plan()
        self._rejected: list[RejectedRecord] = []
        self._binaries = 0

    async def apply(self) -> tuple[Mark, tuple[Rejection, ...]]:
        """Apply all records; return the mark to be made, and what was rejected. After an error it can be done anew."""
        with open_spool() as lines:
            await self._read(lines)
            await to_thread.run_sync(self._begin)
            upserts = planned_upserts(self._plan, lines)
            while batch := await to_thread.run_sync(lambda: list(islice(upserts, BATCH_RECORDS))):
                await to_thread.run_sync(self._place_plain, batch)
                files = [upsert for upsert in batch if upsert.kind is Kind.FILE]
                # Of two names that are one to the file system, the first in order is to win, whatever their sizes.
                at_once = 1 if self._tree.folds_names else CONTENTS_AT_ONCE
                await for_each(files, self._place_file, at_once=at_once)
        await to_thread.run_sync(self._end)
        return self._result()

    async def _read(self, lines: IO[bytes]) -> None:
        what = f"Event File {self._file.entry.id}"
        async for block in self._file.blocks:
            await to_thread.run_sync(plan_block, self._plan, block, what)
            await to_thread.run_sync(write_spool, lines, block)
        self._rejected.extend(self._plan.unacceptable.values())
        lines.seek(0)

    def _begin(self) -> None:
        """Prepare the directories, then apply the deletes."""
        plan = self._plan
        self._tree.incoming.discard_all(self._prefix)
        self._aftercare.prepare(self._stream, (path for paths in (plan.upserts, plan.deletes) for path in paths))
        removals: list[bytes] = []
        for path in sorted(plan.deletes, reverse=True):
            try:
                self._tree.remove(path)
            except BlockedPathError:
                removals.append(path)
        self._state.note_removals(self._stream, removals)
        self._state.drop_directories(self._stream, plan.deletes.keys() - removals)
        self._state.drop_removals(self._stream, plan.upserts)

    def _place_plain(self, batch: Sequence[Upsert]) -> None:
        """Place what has no content."""
        directories: list[DirectoryStatus] = []
        for upsert in batch:
            if upsert.kind is Kind.DIRECTORY and self._try(upsert, self._tree.make_directory):
                directories.append(final_status(upsert))
            elif upsert.kind is Kind.SYMLINK:
                self._try(upsert, lambda upsert: self._tree.make_link(upsert, f"{self._prefix}-link"))
        self._state.note_directories(self._stream, directories, replace=True)

    async def _place_file(self, upsert: Upsert) -> None:
        if upsert.digest is None or await to_thread.run_sync(self._tree.holds, upsert):
            return
        staged = f"{self._prefix}-{uuid.uuid4().hex}"
        try:
            rest = await self._stage(staged, upsert.digest)
            installed = await to_thread.run_sync(self._install, upsert, staged, rest)
            self._binaries += installed  # not in one line with the await: others count meanwhile
        finally:
            self._tree.incoming.discard(staged)

    async def _stage(self, staged: str, digest: BinaryId) -> bytes:
        """Write a content but for its last part, which is returned: most files have no other."""
        rest = bytearray()
        async with self._file.open_binary(digest) as content:
            async for piece in content:
                rest += piece
                if len(rest) >= WRITE_BYTES:
                    await to_thread.run_sync(self._tree.incoming.write, staged, bytes(rest))
                    rest.clear()
        return bytes(rest)

    def _install(self, upsert: Upsert, staged: str, rest: bytes) -> bool:
        self._tree.incoming.write(staged, rest)
        return self._try(upsert, lambda upsert: self._tree.install(upsert, staged), staged)

    def _try(self, upsert: Upsert, place: Callable[[Upsert], None], staged: str | None = None) -> bool:
        """Place a record, or set it aside (with its content, where it may go in later) and return False."""
        key = key_text((from_bytes(upsert.path),))
        try:
            place(upsert)
        except InvalidRecordError as error:
            self._rejected.append(RejectedRecord(key, upsert.line, str(error), error.column, upsert.raw))
        except BlockedPathError as error:
            if staged is not None:
                self._tree.incoming.keep(staged, self._aftercare.kept_name(self._stream, key))
            self._rejected.append(RejectedRecord(key, upsert.line, str(error), "path", upsert.raw, error.waits))
        else:
            return True
        return False

    def _end(self) -> None:
        """Remember what did not go in, forget what now has, and try what waited."""
        plan = self._plan
        aside = {record.key for record in self._rejected}
        paths = (path for paths in (plan.upserts, plan.deletes) for path in paths)
        keys = chain((key_text((from_bytes(path),)) for path in paths), plan.nowhere)
        self._aftercare.forget(self._stream, (key for key in keys if key not in aside))
        self._state.remember(self._file.entry.id, self._rejected)
        self._aftercare.remove_emptied(self._stream)
        self._aftercare.place_kept(self._stream, only_waiting=True)
        self._tree.sync()

    def _result(self) -> tuple[Mark, tuple[Rejection, ...]]:
        plan = self._plan
        rejected = sorted((record for record in self._rejected if not record.waits), key=lambda record: record.line)
        mark = Mark(
            upserts=plan.upsert_count - len(rejected),
            deletes=plan.delete_count,
            rejected=len(rejected),
            binaries=self._binaries,
            movement=self._file.movement,
        )
        return mark, tuple(record.rejection(self._file.entry.id) for record in rejected)
