"""What the HTTP API does for an app that uploads: it begins a Movement, keeps files and contents, and ends the export."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError
from pipeline.domain.ids import FlowName, Label, StreamName, known_name
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Movement, Status
from pipeline.engine.control.early_end import EarlyEnd
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import join_movement
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore, OpenBody
from pipeline.remote.uploaded import make_exporter
from pipeline.remote.uploads import Begin, CompleteGroup, End, Upload, UploadedStream, Uploads, forget_before


class AppExport:
    """The export of one Movement by an app that uploads."""

    def __init__(self, store: ObjectStore, flows: FlowStore, movement: Movement) -> None:
        self._store, self._flows = store, flows
        self.movement = movement
        self.uploads = Uploads(store, movement.flow, movement.number)

    @classmethod
    async def begin(
        cls,
        store: ObjectStore,
        flows: FlowStore,
        exports: EventQueue,
        name: FlowName,
        streams: Sequence[UploadedStream],
    ) -> AppExport:
        """Begin a Movement, or the one that has been started, and announce it to export workers.

        Beginning again with the same streams changes nothing. ConflictError when it has begun with others.
        """
        flow = await flows.read_flow(name)
        if not streams:
            raise ConfigurationError("The export has no stream. Name at least one.")
        make_exporter(list(streams), Uploads(store, name, 0))  # says what is wrong with a stream
        movement = await join_movement(flows, flow)
        export = cls(store, flows, movement)
        if movement.exported:
            raise ConflictError(
                f"Movement {movement.number} of Flow {name!r} is exported, and is being imported. Begin when it has settled."
            )
        await forget_before(store, name, movement.number)
        await export.uploads.begin(Begin(list(streams)))
        await exports.send([encode_message(MovementStarted(name, movement.number))])
        return export

    @classmethod
    async def open(
        cls, store: ObjectStore, flows: FlowStore, name: FlowName, number: int, *, to_end: bool = False
    ) -> AppExport:
        """Open the export of a Movement. ConflictError when it has settled, AbsentError when the app has not begun it.

        `to_end`: one that is exported may have settled.
        """
        export = cls(store, flows, await flows.read_of(await flows.read_flow(name), number))
        if export.movement.settled and not (to_end and export.movement.exported):
            raise ConflictError(
                f"Movement {number} of Flow {name!r} has settled as {export.movement.status}. Begin another one."
            )
        if await export.uploads.begun() is None and not export.movement.exported:
            raise AbsentError(f"The export of Movement {number} has not begun. Begin it.")
        return export

    async def streams(self) -> Mapping[str, UploadedStream]:
        """Return the streams that the app has named."""
        begun = await self.uploads.begun()
        return {stream.stream: stream for stream in begun.streams} if begun else {}

    async def stream(self, name: str) -> UploadedStream:
        """Return a stream to which files may be added, by its name in a path.

        AbsentError when there is none of this name; ConflictError when its group is complete.
        """
        streams = await self.streams()
        name = known_name(name, streams)
        if name not in streams:
            await self._ensure_not_exported()
            raise AbsentError(
                f"There is no stream {name[:200]!r} in this export. It has: {', '.join(sorted(streams))}."
            )
        if await self.uploads.group(streams[name].group) is not None:
            raise ConflictError(f"The group {streams[name].group!r} is complete: no file can be added.")
        return streams[name]

    async def _ensure_not_exported(self) -> None:
        """ConflictError when all is exported: what the app had named is deleted then."""
        if (await self._flows.read_movement(self.movement.flow, self.movement.number)).exported:
            raise ConflictError(
                f"The export of Movement {self.movement.number} is complete, and is being imported: nothing can be added."
            )

    async def put(self, upload: Upload, body: OpenBody, sha256: str) -> bool:
        """Store a file or content whose SHA-256 digest is known; return whether it is new.

        ConflictError when another one is there.
        """
        new = await self.uploads.put(upload, body)
        if not new:
            await self._ensure_equal(upload, sha256)
        await self.uploads.sign(upload.name)
        return new

    async def put_part(self, upload: Upload, number: int, body: OpenBody, sha256: str) -> bool:
        """Store a part of a file or content; return whether it is new. ConflictError when the whole is stored."""
        if await self.uploads.size(upload) is not None:
            raise ConflictError(f"{upload.words} is stored. Nothing can be added.")
        new = await self.uploads.parts(upload).put(number, body, sha256)
        await self.uploads.sign(f"{upload.name} {number}")
        return new

    async def join(self, upload: Upload, digests: Sequence[str], sha256: str, *, most_bytes: int) -> tuple[int, bool]:
        """Put a file or content together from the parts with these digests; return its size, and whether it is new.

        ConfigurationError when the whole has another digest than `sha256`, or more bytes than it may have.
        """
        parts = self.uploads.parts(upload)
        if (stored := await self.uploads.size(upload)) is not None:
            await self._ensure_equal(upload, sha256)
            await parts.forget()
            return stored, False
        body, size = await parts.joined(digests)
        if size > most_bytes:
            raise ConfigurationError(f"{upload.words} may have {most_bytes:,} bytes, not {size:,}.")
        new = await self.put(upload, _checked(body, sha256, upload), sha256)
        await parts.forget()
        return size, new

    async def _ensure_equal(self, upload: Upload, sha256: str) -> None:
        if await self.uploads.sha256(upload) != sha256:
            raise ConflictError(f"{upload.words} is stored with another content. Give this one another number or name.")

    async def complete(self, name: str, files: Mapping[str, int]) -> None:
        """Say that all files of a group are stored, by its name in a path.

        ConflictError names a file that is missing, or one too many.
        """
        all_streams = (await self.streams()).values()
        label = Label(known_name(name, {stream.group for stream in all_streams}))
        streams = [stream for stream in all_streams if stream.group == label]
        if not streams:
            await self._ensure_not_exported()
            raise AbsentError(f"There is no group {label!r} in this export.")
        if unknown := sorted(set(files) - {stream.stream for stream in streams}):
            raise ConfigurationError(f"The stream {unknown[0]!r} is not in the group {label!r}.")
        for stream in streams:
            stored, wanted = await self.uploads.files(StreamName(stream.stream)), files.get(stream.stream, 0)
            if stored != list(range(wanted)):
                different = next(iter(sorted(set(range(wanted)) ^ set(stored))))
                what = "is missing" if different < wanted else "is not counted"
                raise ConflictError(f"File {different} of the stream {stream.stream!r} {what}: {wanted} are complete.")
        await self.uploads.complete(
            label, CompleteGroup({stream.stream: files.get(stream.stream, 0) for stream in streams})
        )

    async def end(self) -> None:
        """Say that all groups are complete: nothing new once they are exported. ConflictError names one that is not."""
        for label in sorted({stream.group for stream in (await self.streams()).values()}):
            if await self.uploads.group(label) is None:
                if (await self._flows.read_movement(self.movement.flow, self.movement.number)).exported:
                    return  # it was complete, and its uploads are deleted
                raise ConflictError(f"The group {label!r} is not complete. Complete it, or let the export fail.")
        if not self.movement.exported:
            await self.uploads.end(End())

    async def fail(self, reason: str, early_end: EarlyEnd) -> Movement:
        """End the Movement as FAILED. What is imported stays."""
        await self.uploads.end(End(reason))
        problem = f"the app could not export: {reason}"
        await self._flows.update(
            self.movement.flow,
            self.movement.number,
            lambda now: now if now.settled else replace(now, problems=(*now.problems, problem)),
        )
        return await early_end.end(self.movement, Status.FAILED, Reason.EXPORT_FAILED)


def _checked(open_body: OpenBody, sha256: str, upload: Upload) -> OpenBody:
    """Return the same body, which ends with ConfigurationError when it has another digest."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        digest = hashlib.sha256()
        async with open_body() as body:
            async for piece in body:
                digest.update(piece)
                yield piece
        if digest.hexdigest() != sha256:
            raise ConfigurationError(
                f"{upload.words} has the SHA-256 digest {digest.hexdigest()} when its parts are put together, not {sha256}. "
                "Name the parts in their order."
            )

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterable[bytes]]:
        async with aclosing(pieces()) as checked:
            yield checked

    return opened
