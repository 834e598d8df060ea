"""`pipeline show`: finds one Event File and reads it block by block, in constant memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConfigurationError, DamagedError, RefusedError
from pipeline.domain.event_file import Header
from pipeline.domain.ids import EventFileId, ObjectKey
from pipeline.paths import is_file
from pipeline.settings import Settings, load_settings

_READ_BYTES = 1 << 20
_EVENT_FILE_KEY = re.compile(r"flows/[^/]+/events/.+\.jsonl\.zst")


async def show(
    name: str,
    on_part: Callable[[Header | bytes], None],
    *,
    flow: str | None = None,
    settings: Settings | None = None,
) -> None:
    """Call `on_part` with the header of an Event File, then with its records in blocks of whole lines.

    `name` is a path on this computer, an Event File id, or the key of a stored object. `flow` chooses between Flows that
    have an Event File of this id. DamagedError, at the latest at the end, when the file is not whole.
    """
    async with _open_file(settings or load_settings(), name, flow) as (what, pieces):
        reader = EventFileReader(None, what=what)
        header: Header | None = None
        try:
            async for piece in pieces:
                for block in reader.feed(piece):
                    if header is None and (header := reader.header):
                        on_part(header)
                    on_part(block)
            if header is None and reader.header:
                on_part(reader.header)
            reader.close()
        except DamagedError as error:
            if reader.header is None and not what.startswith(object_keys.FLOWS):
                raise DamagedError(
                    f"{what} is no Event File, or its header is damaged. `pipeline show` prints Event Files: JSON lines that "
                    f"begin with a header, compressed or not. In detail: {error}"
                ) from error
            raise


@asynccontextmanager
async def _open_file(
    settings: Settings, name: str, flow: str | None
) -> AsyncIterator[tuple[str, AsyncIterable[bytes]]]:
    if await anyio.to_thread.run_sync(is_file, name):
        yield name, _read_path(Path(name))
        return
    async with open_runtime(settings) as runtime:
        key = await _find_key(runtime, name, flow)
        async with runtime.store.open_stream(key) as pieces:
            yield key, pieces


async def _read_path(path: Path) -> AsyncIterator[bytes]:
    try:
        async with await anyio.open_file(path, "rb") as file:
            while data := await file.read(_READ_BYTES):
                yield data
    except PermissionError as error:
        raise RefusedError(f"{path} may not be read; ask its owner for the permission.") from error
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}. Check the file and its disk.") from error


async def _find_key(runtime: Runtime, name: str, flow: str | None) -> ObjectKey:
    """Return the key of the one Event File that `name` can mean."""
    if name.startswith(object_keys.FLOWS):
        if not _EVENT_FILE_KEY.fullmatch(name):
            raise ConfigurationError(
                f"{name} is not the key of an Event File, which is flows/FLOW/events/MOVEMENT/STREAM/PHASE/CHUNK.jsonl.zst. "
                "`pipeline files FLOW` lists the ids."
            )
        return ObjectKey(name)
    try:
        file = EventFileId.parse(name)
    except ValueError:
        raise ConfigurationError(
            f"{name} is neither a file on this computer nor the id of an Event File (movement/stream/phase/chunk, such "
            "as 1/users/full/0). `pipeline files FLOW` lists the ids."
        ) from None
    names = [one for one in await runtime.flows.list_names() if flow in (None, one)]
    found = [one for one in names if await runtime.store.stat(object_keys.event_file_key(one, file))]
    if not found:
        where = f"Flow {flow!r}" if flow else "any Flow here"
        raise AbsentError(f"There is no Event File {file} in {where}. `pipeline files FLOW` lists the ids.")
    if len(found) > 1:
        raise ConfigurationError(
            f"Several Flows have an Event File {file}: {', '.join(found)}. Choose one with --flow."
        )
    return object_keys.event_file_key(found[0], file)
