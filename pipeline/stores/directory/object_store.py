"""The embedded object store: a directory of the local file system, shared by any number of processes.

    objects/    the objects, named after their keys (`path_encoding.py`)
    tmp/        files that are being written (`temp_file.py`)
    locks/      256 empty files; the writers of a key lock one of them

An object's file is never changed: it is written under a temporary name, synced, and then linked or renamed to its
final name. So an open file shows one version, and a writer killed at any moment leaves the old or the new object.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
from blake3 import blake3

from pipeline.domain.errors import AbsentError, ConflictError, DamagedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from pipeline.stores.directory.durable import DurableDirectories, sync_directory
from pipeline.stores.directory.errors import translated
from pipeline.stores.directory.listing import list_folders, list_objects, modified_at
from pipeline.stores.directory.locks import locked
from pipeline.stores.directory.path_encoding import object_path
from pipeline.stores.directory.temp_file import TempFile, remove_abandoned
from pipeline.stores.directory.worker_files import in_worker_threads, open_at
from pipeline.stores.keys import check_key

DIRECTORY_ATTEMPTS = 20
"""How often a directory is made again that other processes remove at the same time."""
PIECE_BYTES = 1024 * 1024
"""Bytes of a large body read or written at once: enough to make the call of a worker thread cheap."""


class DirectoryObjectStore:
    """Implements `pipeline.ports.object_store.ObjectStore` in the directory `root`.

    The constructor does no I/O; the first put creates the directory. A version is the BLAKE3 digest of the content. The
    file system must be local and case-sensitive.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._objects = self._root / "objects"
        self._temp = self._root / "tmp"
        self._locks = self._root / "locks"
        self._directories = DurableDirectories(self._root)
        self._is_ready = False

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        target = object_path(self._objects, check_key(key))
        if isinstance(body, bytes):
            return await anyio.to_thread.run_sync(self._put_bytes, key, target, body, condition)
        temp: TempFile | None = None
        gathered = bytearray()
        try:
            async with body() as pieces:
                async for piece in pieces:
                    gathered += piece
                    if len(gathered) >= PIECE_BYTES:
                        if temp is None:
                            temp = await anyio.to_thread.run_sync(self._begin, key, target, condition)
                        await self._write(temp, gathered)
                        gathered = bytearray()
            if temp is None:
                return await anyio.to_thread.run_sync(self._put_bytes, key, target, gathered, condition)
            await self._write(temp, gathered)
            return await anyio.to_thread.run_sync(self._commit, key, target, temp, condition)
        finally:
            if temp is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._discard, temp)

    async def _write(self, temp: TempFile, data: bytearray) -> None:
        with translated("store an object in", self._root):
            await in_worker_threads(temp).write(data)

    def _put_bytes(
        self, key: ObjectKey, target: Path, body: bytes | bytearray, condition: PutCondition | Version
    ) -> Version:
        temp = self._begin(key, target, condition)
        try:
            with translated("store an object in", self._root):
                temp.write(body)
            return self._commit(key, target, temp, condition)
        finally:
            self._discard(temp)

    def _begin(self, key: ObjectKey, target: Path, condition: PutCondition | Version) -> TempFile:
        """Return a file to write to, or raise ConflictError early if the object exists already."""
        with translated("store an object in", self._root):
            self._make_ready()
            if condition is PutCondition.ABSENT and target.exists():
                raise _exists(key, target)
            return TempFile(self._temp)

    def _make_ready(self) -> None:
        """Create the store's directories and remove files of killed writers, before this process first writes."""
        if self._is_ready:
            return
        self._directories.make_root()
        for directory in (self._objects, self._temp, self._locks):
            self._directories.make(directory)
        remove_abandoned(self._temp)
        self._is_ready = True

    def _commit(self, key: ObjectKey, target: Path, temp: TempFile, condition: PutCondition | Version) -> Version:
        """Give the written file its final name, if `condition` holds at that moment."""
        with translated("store an object in", self._root):
            version = temp.sync()
            for left in reversed(range(DIRECTORY_ATTEMPTS)):
                try:
                    self._directories.make(target.parent)
                    self._name(key, target, temp, condition)
                    break
                except FileNotFoundError:  # a process that deleted an object has removed the empty directory
                    if not left:
                        raise
                    self._directories.forget(target.parent)
            with suppress(FileNotFoundError):  # the object has been deleted since
                sync_directory(target.parent)
            return version

    def _name(self, key: ObjectKey, target: Path, temp: TempFile, condition: PutCondition | Version) -> None:
        if condition is PutCondition.ABSENT:
            _link(key, target, temp)
            return
        with locked(self._locks, key):
            if condition is not PutCondition.NONE and _version_at(target) != condition:
                raise ConflictError(f"the object {key} has changed since it was read")
            temp.path.replace(target)

    def _discard(self, temp: TempFile) -> None:
        with translated("remove a temporary file from", self._temp):
            temp.discard()

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        path = object_path(self._objects, check_key(key))
        return await anyio.to_thread.run_sync(self._get, key, path, max_bytes)

    def _get(self, key: ObjectKey, path: Path, max_bytes: int) -> StoredObject:
        with translated("read", path):
            try:
                with path.open("rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size
                    if size > max_bytes:
                        raise DamagedError(f"the object {key} has {size} bytes; at most {max_bytes} were expected")
                    data = file.read()
            except FileNotFoundError as error:
                raise _absent(key) from error
        return StoredObject(data, Version(blake3(data).hexdigest()))

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        path = object_path(self._objects, check_key(key))
        with translated("read", path):
            try:
                pieces = await open_at(path, start, PIECE_BYTES)
            except FileNotFoundError as error:
                raise _absent(key) from error
        try:
            yield pieces
        finally:
            with anyio.CancelScope(shield=True):
                await pieces.close()

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        path = object_path(self._objects, check_key(key))
        return await anyio.to_thread.run_sync(self._stat, key, path)

    def _stat(self, key: ObjectKey, path: Path) -> ObjectInfo | None:
        with translated("read", path):
            try:
                present = path.stat()
                return ObjectInfo(key, present.st_size, modified_at(present))
            except FileNotFoundError:
                return None

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await anyio.to_thread.run_sync(self._list_page, prefix, after, limit)

    def _list_page(self, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
        with translated("list the objects in", self._root):
            return list_objects(self._objects, prefix, after, limit)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        return await anyio.to_thread.run_sync(self._list_folders, prefix)

    def _list_folders(self, prefix: str) -> list[str]:
        with translated("list the folders in", self._root):
            return list_folders(self._objects, prefix)

    async def delete(self, key: ObjectKey) -> None:
        path = object_path(self._objects, check_key(key))
        await anyio.to_thread.run_sync(self._delete, key, path)

    def _delete(self, key: ObjectKey, path: Path) -> None:
        """Remove the file under the key's lock, so that a concurrent put with a Version cannot restore the object."""
        with translated("remove", path):
            if path.exists():
                self._make_ready()
                with locked(self._locks, key):
                    path.unlink(missing_ok=True)
                self._directories.remove_empty(path.parent, self._objects)


def _link(key: ObjectKey, target: Path, temp: TempFile) -> None:
    """Give the object its name, unless the name is taken: link(2) decides between processes."""
    try:
        target.hardlink_to(temp.path)
    except FileExistsError as error:
        raise _exists(key, target) from error


def _exists(key: ObjectKey, target: Path) -> ConflictError:
    """Make the other writer's object durable, and return the error: the caller may go on as if it had stored it."""
    sync_directory(target.parent)
    return ConflictError(f"the object {key} exists already")


def _absent(key: ObjectKey) -> AbsentError:
    return AbsentError(f"there is no object {key}")


def _version_at(path: Path) -> Version | None:
    digest = blake3()
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
    except FileNotFoundError:
        return None
    return Version(digest.hexdigest())
