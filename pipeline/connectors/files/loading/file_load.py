"""Applying one Event File to a tree.

All lines are read and checked before the first record is applied; meanwhile they are in an unnamed temporary file. Then
come the deletes, from the innermost outwards, and after them the upserts in the order of the file: of each batch the
directories and links first, then the contents of its files. So the path of an entry whose kind changes is free.

`a` may be in one Event File and `a/x` in the next. So the removal of a directory that is not empty, and a file or link in
place of such a directory, may have to wait: they are retried at the end of every load, and by `retry_rejected` and `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count, islice
from tempfile import TemporaryFile, gettempdir
from typing import IO

from anyio import to_thread

from pipeline.codec.values import key_text
from pipeline.connectors.files.concurrency import GROUP_ITEMS, for_each, grouped
from pipeline.connectors.files.directories import Parents
from pipeline.connectors.files.errors import translated
from pipeline.connectors.files.loading.deferred import DeferredWork
from pipeline.connectors.files.loading.records import (
    InvalidRecordError,
    PendingRecord,
    Plan,
    Upsert,
    plan_block,
    planned_upserts,
)
from pipeline.connectors.files.loading.state_db import DirectoryStatus, StateDb
from pipeline.connectors.files.loading.tree_writer import BlockedPathError, TreeWriter
from pipeline.connectors.files.names import from_bytes
from pipeline.connectors.files.tree import Kind
from pipeline.domain.ids import BinaryId
from pipeline.ports.destination import FileToLoad, Mark, Rejection

GROUPS_AT_ONCE = 2
BATCH_RECORDS = 1000
WRITE_BYTES = 1024 * 1024


class FileLoad:
    """The load of one Event File into a tree. `prefix` begins the names of what it stages, and no other names."""

    def __init__(self, tree: TreeWriter, state: StateDb, deferred: DeferredWork, file: FileToLoad, prefix: str) -> None:
        self._tree = tree
        self._state = state
        self._deferred = deferred
        self._file = file
        self._stream = file.entry.id.stream
        self._prefix = prefix
        self._plan = Plan()
        self._pending: list[PendingRecord] = []
        self._not_moved: list[tuple[bytes, str, str]] = []
        self._binaries = 0
        self._numbers = count()

    async def apply(self) -> tuple[Mark, tuple[Rejection, ...]]:
        """Apply all records; return the mark to write, and the rejections. After an error it MAY be repeated."""
        with translated(f"a temporary file in {gettempdir()!r}"), TemporaryFile() as lines:
            await self._read(lines)
            await to_thread.run_sync(self._begin)
            upserts = planned_upserts(self._plan, lines)
            while batch := await to_thread.run_sync(lambda: list(islice(upserts, BATCH_RECORDS))):
                await to_thread.run_sync(self._place_plain, batch)
                files = [upsert for upsert in batch if upsert.kind is Kind.FILE]
                # Of two names that are one to the file system, the first in order wins, whatever the sizes.
                at_once, most = (1, 1) if self._tree.folds_names else (GROUPS_AT_ONCE, GROUP_ITEMS)
                await for_each(grouped(files, _held_bytes, most=most), self._place_files, at_once=at_once)
        await to_thread.run_sync(self._end)
        return self._result()

    async def _read(self, lines: IO[bytes]) -> None:
        what = f"Event File {self._file.entry.id}"

        def plan(block: bytes) -> None:
            plan_block(self._plan, block, what)
            lines.write(block)

        async for block in self._file.blocks:
            await to_thread.run_sync(plan, block)
        self._pending.extend(self._plan.invalid.values())
        lines.seek(0)

    def _begin(self) -> None:
        """Prepare the directories, then apply the deletes."""
        plan = self._plan
        self._tree.staging.discard_all(self._prefix)
        self._deferred.prepare_directories(self._stream, chain(plan.upserts, plan.deletes))
        removals: list[bytes] = []
        for path in sorted(plan.deletes, reverse=True):
            try:
                self._tree.remove(path)
            except BlockedPathError:
                removals.append(path)
        self._state.add_removals(self._stream, removals)
        self._state.drop_directories(self._stream, plan.deletes.keys() - removals)
        self._state.drop_removals(self._stream, plan.upserts)
        self._state.drop_not_moved(self._stream, chain(plan.upserts, plan.deletes))

    def _place_plain(self, batch: Sequence[Upsert]) -> None:
        """Place the directories and links of a batch."""
        directories: list[DirectoryStatus] = []
        for upsert in batch:
            if upsert.kind is Kind.DIRECTORY and self._try(upsert, self._tree.make_directory):
                directories.append(self._deferred.final_status(upsert))
            elif upsert.kind is Kind.SYMLINK:
                self._try(upsert, lambda upsert: self._tree.make_link(upsert, f"{self._prefix}-link"))
        self._state.add_directories(self._stream, directories, replace=True)

    async def _place_files(self, group: Sequence[Upsert]) -> None:
        """Place a group of files: those of which the contents are stored together in one call of a thread."""
        missing = await to_thread.run_sync(self._not_held, group)
        contents = await self._file.read_contents([digest for _, digest in missing])
        together = [(upsert, contents[digest]) for upsert, digest in missing if digest in contents]
        if together:
            placed = await to_thread.run_sync(self._place_contents, together)
            self._binaries += placed  # not in one line with the await: other tasks count meanwhile
        for upsert, digest in missing:
            if digest not in contents:
                await self._place_file(upsert, digest)

    def _not_held(self, group: Sequence[Upsert]) -> Sequence[tuple[Upsert, BinaryId]]:
        """Return those files, with their contents, that the tree does not hold as they are to be."""
        with self._tree.parents() as parents:
            return [
                (upsert, upsert.digest)
                for upsert in group
                if upsert.digest is not None
                and not (self._tree.holds(upsert, parents) and self._try(upsert, lambda upsert: None))
            ]

    def _place_contents(self, files: Iterable[tuple[Upsert, bytes]]) -> int:
        """Write files and put them in their places; return how many are in place."""
        with self._tree.parents() as parents:
            return sum([self._install(upsert, self._staged_name(), content, parents) for upsert, content in files])

    def _staged_name(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    async def _place_file(self, upsert: Upsert, digest: BinaryId) -> None:
        staged = self._staged_name()
        try:
            rest = await self._stage(staged, digest)
        except BaseException as error:
            self._tree.staging.discard(staged)
            if not isinstance(error, InvalidRecordError):
                raise
            self._reject(upsert, error)
        else:
            with self._tree.parents() as parents:
                placed = await to_thread.run_sync(self._install, upsert, staged, rest, parents)
            self._binaries += placed

    async def _stage(self, staged: str, digest: BinaryId) -> bytes:
        """Write a content except its last part, which is returned: most files have no other."""
        rest = bytearray()
        async with self._file.open_binary(digest) as content:
            async for piece in content:
                rest += piece
                if len(rest) >= WRITE_BYTES:
                    await to_thread.run_sync(self._tree.staging.write, staged, bytes(rest))
                    rest.clear()
        return bytes(rest)

    def _install(self, upsert: Upsert, staged: str, rest: bytes, parents: Parents) -> bool:
        """Write the last part of a content, and put the file in its place. Of a file that fails nothing is left staged."""
        placed = False
        try:
            self._tree.staging.write(staged, rest)
            placed = self._try(upsert, lambda upsert: self._tree.install(upsert, staged, parents), staged)
        except InvalidRecordError as error:
            self._reject(upsert, error)
        finally:
            if not placed:
                self._tree.staging.discard(staged)
        return placed

    def _try(self, upsert: Upsert, place: Callable[[Upsert], None], staged: str | None = None) -> bool:
        """Place a record; if that fails, keep it as pending, with its content if it may succeed later."""
        try:
            place(upsert)
        except InvalidRecordError as error:
            self._reject(upsert, error)
        except BlockedPathError as error:
            key = key_text((from_bytes(upsert.path),))
            if staged is not None:
                self._tree.staging.keep(staged, self._deferred.staged_name(self._stream, key))
            self._pending.append(PendingRecord(key, upsert.line, str(error), "path", upsert.raw, error.waits))
        else:
            self._not_moved += [(upsert.path, *found) for found in self._tree.not_moved(upsert)]
            return True
        return False

    def _reject(self, upsert: Upsert, error: InvalidRecordError) -> None:
        key = key_text((from_bytes(upsert.path),))
        self._pending.append(PendingRecord(key, upsert.line, str(error), error.column, upsert.raw))

    def _end(self) -> None:
        """Store the pending records, drop older ones with the keys that are applied now, and retry those that waited."""
        plan = self._plan
        pending = {record.key for record in self._pending}
        paths = (key_text((from_bytes(path),)) for path in chain(plan.upserts, plan.deletes))
        keys = chain(paths, plan.invalid_deletes)
        self._deferred.drop_pending(self._stream, (key for key in keys if key not in pending))
        self._state.add_pending(self._file.entry.id, self._pending)
        self._state.add_not_moved(self._stream, self._not_moved)
        self._deferred.remove_emptied(self._stream)
        self._deferred.retry_pending(self._stream, only_waiting=True)
        self._tree.sync()

    def _result(self) -> tuple[Mark, tuple[Rejection, ...]]:
        rejected = sorted((record for record in self._pending if not record.waits), key=lambda record: record.line)
        mark = Mark(
            upserts=self._plan.upsert_count - len(rejected),
            deletes=self._plan.delete_count,
            rejected=len(rejected),
            binaries=self._binaries,
            movement=self._file.movement,
        )
        return mark, tuple(record.rejection(self._file.entry.id) for record in rejected)


def _held_bytes(upsert: Upsert) -> int:
    """Return how much memory a content will take, as far as its record says."""
    return upsert.size or 0
