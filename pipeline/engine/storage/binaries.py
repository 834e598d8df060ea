"""Binary Files: stored once under the digest of their content, small ones in packs; verified when read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import anyio.to_thread
from blake3 import blake3

from pipeline.domain import object_keys
from pipeline.domain.errors import TAKEN_AWAY, AbsentError, ConflictError, DamagedError, PipelineError
from pipeline.domain.ids import BinaryId, FlowName
from pipeline.domain.movement import Movement
from pipeline.engine.storage.pack_writer import PACKED_BYTES, PackWriter
from pipeline.engine.storage.packs import Packs, Place
from pipeline.ports.destination import ContentReader, DestinationSession
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition
from pipeline.ports.reporter import BinaryFileFailed, BinaryFileStored, BytesMoved, Reporter
from pipeline.ports.source import ChangedContentError

SMALL_BYTES = 1024 * 1024
"""Contents up to this size are read once, into memory; larger ones are read twice, first for their digest."""


class BinaryFiles:
    """The Binary Files of one Flow. Contents of up to `packed_bytes` are stored in packs; -1 turns packs off."""

    def __init__(
        self, store: ObjectStore, flow: FlowName, reporter: Reporter, *, packed_bytes: int = PACKED_BYTES
    ) -> None:
        self._packed_bytes = packed_bytes
        self._store = store
        self._flow = flow
        self._reporter = reporter
        self._packs = Packs(store, flow)
        self._writer = PackWriter(store, flow, reporter, self._packs)
        self.given_bytes = 0
        """How many bytes the contents had that were given to be stored."""

    async def store(self, open_body: OpenBody) -> BinaryId:
        """Store a content unless it is stored already; return its id. Durable once `flush` has returned.

        ChangedContentError when the content changes while it is read.
        """
        digest, size, kept = await _digest(open_body, self._reporter)
        self.given_bytes += size
        binary = BinaryId(digest)
        if kept is not None:
            await self._store_kept(binary, kept)
        else:
            await self._store_alone(binary, size, _again(open_body, digest, self._reporter))
        return binary

    async def store_contents(self, contents: Sequence[bytes]) -> Sequence[BinaryId]:
        """Store contents that are in memory, each unless it is stored already; return their ids in the same order.

        Durable once `flush` has returned. Their digests are computed in one call of a thread.
        """
        binaries = await anyio.to_thread.run_sync(_digests, contents)
        size = sum(map(len, contents))
        self.given_bytes += size
        self._reporter.report(BytesMoved(size))
        for binary, content in zip(binaries, contents, strict=True):
            await self._store_kept(binary, content)
        return binaries

    async def _store_kept(self, binary: BinaryId, content: bytes) -> None:
        if len(content) <= self._packed_bytes:
            await self._writer.add(binary, content)
        else:
            await self._store_alone(binary, len(content), content)

    async def _store_alone(self, binary: BinaryId, size: int, body: bytes | OpenBody) -> None:
        key = object_keys.binary_key(self._flow, binary)
        reused = await self._store.stat(key) is not None
        if not reused:
            try:
                await self._store.put(key, body, PutCondition.ABSENT)
            except ConflictError:
                reused = True  # another task or process stored the same content first
        self._reporter.report(BinaryFileStored(size=size, reused=reused))

    async def flush(self) -> None:
        """Make all stored contents durable. MUST return before an Event File that names one is stored."""
        await self._writer.flush()

    async def size(self, binary: BinaryId) -> int | None:
        """Return the size of a Binary File in bytes; None when the store does not have it."""
        place = await self._packs.find(binary)
        if place is None:
            info = await self._store.stat(object_keys.binary_key(self._flow, binary))
            if info is not None:
                return info.size
            place = await self._packs.find_new(binary)
        return None if place is None else place.length

    @asynccontextmanager
    async def open(self, binary: BinaryId, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        """Open a Binary File, from offset `start` on.

        The iterator raises DamagedError at the end if the content does not match the id; a part of it is not verified.
        """
        try:
            async with AsyncExitStack() as stack:
                pieces, what = await self._find(binary, start, stack)
                checked = _checked(pieces, binary, _altered(what), self._reporter)
                yield pieces if start else await stack.enter_async_context(aclosing(checked))
        except DamagedError as error:
            self._reporter.report(BinaryFileFailed(binary, str(error)))
            raise

    async def read_packed(self, binaries: Sequence[BinaryId]) -> Mapping[BinaryId, bytes]:
        """Return those of these contents that share a pack with another of them, at most some megabytes.

        The others are to be opened; so is one that is damaged, and opening it says so.
        """
        contents = await anyio.to_thread.run_sync(_undamaged, await self._packs.read_together(binaries))
        self._reporter.report(BytesMoved(sum(map(len, contents.values()))))
        return contents

    async def _find(self, binary: BinaryId, start: int, stack: AsyncExitStack) -> tuple[AsyncIterable[bytes], str]:
        """Open a content in a pack or in an object of its own, until `stack` closes; return its name for errors too.

        A content that is in no known pack has an object of its own, or lies in a pack that was stored since.
        """
        place = await self._packs.find(binary)
        key = object_keys.binary_key(self._flow, binary)
        if place is None:
            try:
                return await stack.enter_async_context(self._store.open_stream(key, start=start)), f"Binary File {key}"
            except AbsentError:
                place = await self._packs.find_new(binary)
        if place is None:
            unreadable = "".join(f". Perhaps it was in a pack: {error}" for error in self._packs.damaged)
            raise DamagedError(f"Binary File {key} is missing from the store{unreadable}. {TAKEN_AWAY}")
        return await self._find_packed(binary, place.behind(start), stack)

    async def _find_packed(
        self, binary: BinaryId, place: Place, stack: AsyncExitStack
    ) -> tuple[AsyncIterable[bytes], str]:
        pack = self._packs.key(place)
        try:
            pieces = await stack.enter_async_context(self._packs.open(place))
        except AbsentError as error:
            raise DamagedError(
                f"Binary File {binary} is missing from the store, with its pack {pack}. {TAKEN_AWAY}"
            ) from error
        return pieces, f"Binary File {binary} in the pack {pack}"


async def _digest(open_body: OpenBody, reporter: Reporter) -> tuple[str, int, bytes | None]:
    hasher, size, kept = blake3(), 0, [b""]
    async with open_body() as pieces:
        async for piece in pieces:
            hasher.update(piece)
            reporter.report(BytesMoved(len(piece)))
            size += len(piece)
            if size <= SMALL_BYTES:
                kept.append(piece)
    return hasher.hexdigest(), size, b"".join(kept) if size <= SMALL_BYTES else None


def _digests(contents: Sequence[bytes]) -> Sequence[BinaryId]:
    return [BinaryId(blake3(content).hexdigest()) for content in contents]


def _undamaged(contents: Mapping[BinaryId, bytes]) -> Mapping[BinaryId, bytes]:
    return {binary: content for binary, content in contents.items() if blake3(content).hexdigest() == binary}


def _again(open_body: OpenBody, digest: str, reporter: Reporter) -> OpenBody:
    """Return a body that is checked to be the one with this digest."""
    changed = ChangedContentError("A file changed while it was read. Run the command again.")

    @asynccontextmanager
    async def reopen() -> AsyncIterator[AsyncIterable[bytes]]:
        async with open_body() as pieces, aclosing(_checked(pieces, digest, changed, reporter)) as content:
            yield content

    return reopen


def _altered(what: str) -> DamagedError:
    return DamagedError(f"{what} is damaged: its content has another digest. Restore it, or delete it and move again.")


async def _checked(
    pieces: AsyncIterable[bytes], digest: str, error: PipelineError, reporter: Reporter
) -> AsyncGenerator[bytes, None]:
    """Yield the pieces; raise `error` at the end if they do not have this digest."""
    hasher = blake3()
    async for piece in pieces:
        hasher.update(piece)
        reporter.report(BytesMoved(len(piece)))
        yield piece
    if hasher.hexdigest() != digest:
        raise error


def open_contents(session: DestinationSession, store: ObjectStore, movement: Movement, reporter: Reporter) -> None:
    """Let a session that applies rejected records again read contents from where the Movement is stored."""
    if isinstance(session, ContentReader):
        session.open_contents_by(BinaryFiles(store, movement.stored_in, reporter).open)
