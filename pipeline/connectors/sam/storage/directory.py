"""An export in a directory of the local file system. Its files have the names of its objects."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex

import anyio
from anyio import to_thread
from blake3 import blake3

from pipeline.connectors.sam.options import SamPlace
from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    PipelineError,
    RefusedError,
    TransientError,
)
from pipeline.ports.object_store import OpenBody, PutCondition, StoredObject, Version

PIECE_BYTES = 1 << 20
_LOCK_FILE = ".pipeline-lock"
_TEMPORARY = ".pipeline-tmp-"
_LOCK_WAIT_SECONDS = 0.02
_PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}


@asynccontextmanager
async def open_directory(place: SamPlace, *, write: bool = False) -> AsyncIterator[DirectoryStorage]:
    """Open the directory of a place. Nothing is read or created yet."""
    assert place.path is not None
    yield DirectoryStorage(place.path, place.location)


class DirectoryStorage:
    """The files below `root` as objects. An object is written under another name, synced, and renamed."""

    def __init__(self, root: Path, location: str) -> None:
        self._root, self._location = root, location
        self._is_clean = False

    async def objects(self) -> Mapping[str, str]:
        return await to_thread.run_sync(self._objects)

    def _objects(self) -> Mapping[str, str]:
        with _translated("read", self._root):
            if not self._root.is_dir():
                fault = "it is a file" if self._root.exists() else "there is no such directory"
                raise ConfigurationError(f"{self._location}: {fault}; name the directory of an export")
            found: dict[str, str] = {}
            for directory, directories, files in os.walk(self._root, onerror=_raise):
                directories[:] = [name for name in directories if not name.startswith(".")]
                below = Path(directory).relative_to(self._root)
                for name in files:
                    if not name.startswith("."):
                        found[(below / name).as_posix()] = _content_version(os.path.join(directory, name))  # noqa: PTH118
        for name in found:
            try:
                name.encode()
            except UnicodeEncodeError:
                raise ConfigurationError(
                    f"{self._location}: the name of the file {name!r} is not UTF-8; rename it, or move it out of the export"
                ) from None
        return dict(sorted(found.items()))

    async def get(self, name: str) -> StoredObject:
        return await to_thread.run_sync(self._get, name)

    def _get(self, name: str) -> StoredObject:
        path = self._root / name
        with _translated("read", path):
            data = path.read_bytes()
        return StoredObject(data, Version(blake3(data).hexdigest()))

    @asynccontextmanager
    async def open_stream(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        path = self._root / name
        with _translated("read", path):
            file = await to_thread.run_sync(lambda: path.open("rb", buffering=0))

        async def pieces() -> AsyncGenerator[bytes, None]:
            with _translated("read", path):
                while piece := await to_thread.run_sync(file.read, PIECE_BYTES):
                    yield piece

        with file:
            async with aclosing(pieces()) as opened:
                yield opened

    async def put(self, name: str, body: bytes | OpenBody, condition: PutCondition | Version) -> None:
        target = self._root / name
        temp = target.with_name(f"{_TEMPORARY}{token_hex(8)}")
        with _translated("write", target):
            await to_thread.run_sync(_make_directory, target.parent)
            try:
                with temp.open("xb") as file:
                    if isinstance(body, bytes):
                        await to_thread.run_sync(file.write, body)
                    else:
                        async with body() as pieces:
                            async for piece in pieces:
                                await to_thread.run_sync(file.write, piece)
                    file.flush()
                    await to_thread.run_sync(os.fsync, file.fileno())
                await to_thread.run_sync(self._commit, name, temp, target, condition)
            finally:
                temp.unlink(missing_ok=True)

    def _commit(self, name: str, temp: Path, target: Path, condition: PutCondition | Version) -> None:
        """Rename the file. `writing` is held, so that nothing changes between the check and the renaming."""
        if condition is PutCondition.ABSENT and target.exists():
            raise ConflictError(f"{target} exists already")
        if isinstance(condition, str) and self._get(name).version != condition:
            raise ConflictError(f"{target} has changed since it was read")
        temp.replace(target)
        _sync(target.parent)

    async def delete(self, name: str) -> None:
        with _translated("delete", self._root / name):
            await to_thread.run_sync(lambda: (self._root / name).unlink(missing_ok=True))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[bool]:
        """Hold the lock of the directory. The operating system releases it when its holder dies."""
        path = self._root / _LOCK_FILE
        with _translated("write", path), path.open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(_LOCK_WAIT_SECONDS)
            if not self._is_clean:
                for left in self._root.rglob(f"{_TEMPORARY}*"):  # of a killed process
                    left.unlink(missing_ok=True)
                self._is_clean = True
            yield True

    async def create(self) -> None:
        """Create the directory if its parent exists. ConfigurationError or RefusedError when that is not possible."""
        try:
            await to_thread.run_sync(lambda: self._root.mkdir(exist_ok=True))
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self._location}: its parent directory does not exist; create it, or check the path"
            ) from None
        except FileExistsError:
            raise ConfigurationError(f"{self._location}: it is a file; name a directory for the export") from None
        except OSError as error:
            raise _error("create", self._root, error) from error
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise RefusedError(f"{self._location}: it is not writable; give this user the permission, then try again")


def _make_directory(directory: Path) -> None:
    """Create a directory and those above it that are missing, so that their names survive a power failure."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content_version(path: str) -> str:
    """Return a text that changes with the content of a file; empty when it has gone."""
    try:
        status = os.stat(path)  # noqa: PTH116  # for each file of a place: a Path takes three times as long
    except FileNotFoundError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _raise(error: OSError) -> None:
    raise error


def _error(what: str, path: Path, error: OSError) -> PipelineError:
    text = f"cannot {what} {path}: {error.strerror or error}"
    if isinstance(error, FileNotFoundError):
        return AbsentError(f"there is no file {path}")
    if error.errno in _PASSING:
        return TransientError(f"{text}; run the command again")
    return RefusedError(f"{text}; correct the cause, then run the command again")


@contextmanager
def _translated(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _error(what, path, error) from error
