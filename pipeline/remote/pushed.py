"""A destination that is pushed to: a service of the app that takes records over HTTP. docs/reference/http.md has the protocol.

For each Event File it gets `begin`, some `batch` and `end`. Its answer to `begin` says what it has already. Marks and
rejected records are in the object store, and are written after its answer to `end`: at-least-once, which is harmless
because records have keys, and each batch has an idempotency key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from pipeline.codec.event_files.header import encode_header
from pipeline.domain.errors import DefectError, RefusedError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.kit.ledger.kept import Kept, KeptMark, KeptRejection, KeptStream, as_mark
from pipeline.kit.loading.rejected import RejectedRecords, opened_rejections
from pipeline.log_events import log
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome, Mark, Rejection, Violation
from pipeline.ports.object_store import ObjectStore
from pipeline.remote.marks import Marks
from pipeline.remote.receiver import BehindError, Receiver, Refusals

BATCH_RECORDS = 5000
FIRST_LINE = 2
"""The line of the first record: the header is line 1."""


class PushedDestination:
    """The service at `url`. Secrets are references, resolved when it is opened."""

    def __init__(self, location: str, url: str, secrets: Mapping[str, str], store: ObjectStore | None = None) -> None:
        self.location = location
        self._url, self._secrets, self._store = url, secrets, store

    def in_store(self, store: ObjectStore) -> PushedDestination:
        """Return the same destination with the store that keeps its marks."""
        return PushedDestination(self.location, self._url, self._secrets, store)

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of the Flow. The service is not asked."""
        return {file: as_mark(mark) for file, mark in (await Marks.of(self._opened_store(), flow).read()).items()}

    def _opened_store(self) -> ObjectStore:
        if self._store is None:
            raise DefectError("a service was opened without the store that keeps its marks")
        return self._store

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[PushedSession]:
        """Open a connection, and read what is kept."""
        store = self._opened_store()
        kept = Kept(store, flow)
        async with Receiver.open(self._url, self._secrets) as receiver, opened_rejections(kept) as rejected:
            yield PushedSession(kept, Marks.of(store, flow), receiver, rejected, flow)


class PushedSession:
    """A DestinationSession whose records go to a service."""

    def __init__(
        self, kept: Kept, marks: Marks, receiver: Receiver, rejected: RejectedRecords, namespace: FlowName
    ) -> None:
        self._kept, self._marks = kept, marks
        self._receiver, self._rejected, self._namespace = receiver, rejected, namespace

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return {file: as_mark(mark) for file, mark in (await self._marks.read()).items()}

    async def fence(self, movement: int) -> None:
        await self._kept.fence(movement)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Send a file. It is verified as a whole before the first record is sent."""
        blocks = [block async for block in file.blocks]
        if (reason := await self._reason_to_give_way(file, after)) is not None:
            return GaveWay(reason)
        lines = [line for block in blocks for line in block.removesuffix(b"\n").split(b"\n")]
        try:
            refused = await self._send(file, lines)
        except BehindError as error:
            return GaveWay(str(error))
        return await self._mark(file, lines, refused)

    async def _reason_to_give_way(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        marks, id_ = await self._marks.read(), file.entry.id
        latest = max((mark.movement for it, mark in marks.items() if it.stream == id_.stream), default=0)
        fenced = await self._kept.fenced()
        return reason_to_give_way(id_, file.movement, after, marked=marks, latest_movement=latest, fenced=fenced)

    async def _send(self, file: FileToLoad, lines: Sequence[bytes]) -> Refusals:
        """Send the records that the service does not have; return those that it refuses, by their lines."""
        id_, name = file.entry.id, f"{self._namespace}/{file.entry.id}"
        begin = {
            "flow": self._namespace.rpartition(" ")[0],
            "movement": file.movement,
            "originalMovement": file.original_movement or None,
            "epoch": file.movement,
            "file": str(id_),
            "stream": id_.stream,
            "records": len(lines),
            "header": orjson.Fragment(encode_header(file.header)),
        }
        have = await self._receiver.begin(begin, f"{name}:begin", len(lines))
        refused = {**self._refused_before(file, FIRST_LINE + have.records), **have.refused}
        for offset in range(have.records, len(lines), BATCH_RECORDS):
            batch = lines[offset : offset + BATCH_RECORDS]
            found = await self._receiver.batch(str(id_), offset, batch, f"{name}:{offset}")
            self._ensure_there(file, lines, found)
            # Kept at once: an attempt that goes on after this one may not hear of them again.
            await self._rejected.replace(_kept(file, lines, found), ())
            refused |= found
        self._ensure_there(file, lines, refused)
        if not have.whole:
            await self._receiver.end({"file": str(id_), "records": len(lines), "refused": len(refused)}, f"{name}:end")
        return refused

    def _refused_before(self, file: FileToLoad, line: int) -> dict[int, tuple[str, str | None]]:
        """Return what an earlier attempt to send the file has heard of the lines before `line`: they are not sent again."""
        if line == FIRST_LINE or self._rejected.is_empty:
            return {}
        kept = (one for stream, _, part in self._rejected.groups() for one in part if stream == file.entry.id.stream)
        its = [one for one in kept if one.file == str(file.entry.id) and one.line < line]
        return {one.line: (one.reason, one.column) for one in its}

    def _ensure_there(self, file: FileToLoad, lines: Sequence[bytes], refused: Refusals) -> None:
        if wrong := sorted(set(refused) - set(range(FIRST_LINE, FIRST_LINE + len(lines)))):
            raise RefusedError(
                f"{self._receiver.url} refuses line {wrong[0]} of Event File {file.entry.id}, which it does not have."
            )

    async def _mark(self, file: FileToLoad, lines: Sequence[bytes], refused: Refusals) -> LoadOutcome:
        id_, keys = file.entry.id, file.header.schema.primary_keys
        kept = _kept(file, lines, refused)
        accepted: list[tuple[StreamName, str]] = []
        if not self._rejected.is_empty:
            numbered = enumerate(lines, FIRST_LINE)
            accepted = [(id_.stream, _key(line, keys)) for number, line in numbered if number not in refused]
        await self._rejected.replace(kept, accepted)
        deletes = sum(one.record.startswith('{"delete"') for one in kept)
        entry = file.entry
        mark = KeptMark(entry.upserts - (len(kept) - deletes), entry.deletes - deletes, len(kept), 0, file.movement)
        with file.committing():
            is_marked = await self._marks.add({id_: mark})
        if not is_marked:
            return GaveWay(f"Event File {id_} is already imported")
        return Loaded(as_mark(mark), tuple(one.rejection() for one in kept))

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Send the rejected records again, those of each file as a batch of their own."""
        await self._rejected.refresh()
        for stream, _, part in list(self._rejected.groups()):
            lines = [one.record.encode() for one in part]
            name = f"{self._namespace}/{stream}"
            try:
                refused = await self._receiver.retry(stream, lines, f"{name}:retry")
            except RefusedError as error:
                log.warning("receiver_retries_nothing", reason=str(error))
                break
            accepted = [(stream, one.key) for place, one in enumerate(part) if place not in refused]
            await self._rejected.replace([], accepted)
        return self._rejected.rejections()

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return []


def _kept(file: FileToLoad, lines: Sequence[bytes], refused: Refusals) -> list[KeptRejection]:
    """Return the records of a file that are refused, as they are kept."""
    id_, schema = str(file.entry.id), file.header.schema
    stream, found = KeptStream.of(schema), [(line, lines[line - FIRST_LINE]) for line in sorted(refused)]
    return [
        KeptRejection(
            id_, line, _key(text, schema.primary_keys), refused[line][0], text.decode(), stream, refused[line][1]
        )
        for line, text in found
    ]


def _key(line: bytes, names: Sequence[str]) -> str:
    ((_, body),) = orjson.loads(line).items()
    values: list[Any] = [body[name] for name in names]
    return orjson.dumps(values).decode()
