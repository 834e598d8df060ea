"""What a handler tells people: lines of the log, and feedback. Both are in the object store before the file is marked.

So the words about an imported file are kept, however the process ends. A file that is imported again may be reported twice.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime

import anyio

from pipeline.codec.documents.people import (
    MAX_FEEDBACK_BYTES,
    Feedback,
    LogLine,
    decode_feedback,
    encode_feedback,
    encode_log,
)
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.kit.authors_line import calling_line, misuse
from pipeline.kit.configuration.secret import without_secrets
from pipeline.masking import masked_value
from pipeline.ports.object_store import ObjectStore, PutCondition, Version

LINES_AT_ONCE = 2_000
"""Lines that are kept in memory before they are stored, if the handler awaits `tell`; also the most in one object."""


class PeopleLog:
    """Keeps what a handler tells while one call of a session runs. The call loads an Event File or retries records."""

    def __init__(self, store: ObjectStore, flow: FlowName, importer: str, movement: int) -> None:
        self._store, self._flow, self._importer, self._movement = store, flow, importer, movement
        self._lines: list[LogLine] = []
        self._feedback: Feedback | None = None
        self._parts = 0
        self._storing = anyio.Lock()

    def tell(self, file: str, line: int, text: str) -> Awaited:
        """Note a line of the log. Awaiting the result stores the lines once there are many."""
        if not isinstance(text, str):
            raise misuse(calling_line(), f"ctx.tell takes a text, not {type(text).__name__}", "Give str(…)")
        self._lines.append(LogLine(datetime.now(UTC), file, line, without_secrets(text)))
        return Awaited(self if len(self._lines) >= LINES_AT_ONCE else None)

    def feedback(self, document: object) -> Awaited:
        """Note a document of feedback in place of an earlier one. Awaiting the result stores it.

        ConfigurationError when it is no JSON, or too large.
        """
        try:
            text = json.dumps(document, allow_nan=False, ensure_ascii=False)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise misuse(calling_line(), "ctx.feedback takes what JSON can hold", f"It says: {error}") from error
        if size > MAX_FEEDBACK_BYTES:
            fault = f"ctx.feedback takes at most {MAX_FEEDBACK_BYTES:,} bytes as JSON, not {size:,}"
            raise misuse(calling_line(), fault, "Give a summary")
        self._feedback = Feedback(self._importer, datetime.now(UTC), masked_value(json.loads(text)))
        return Awaited(self)

    async def store(self) -> None:
        """Store all that is noted."""
        async with self._storing:
            while self._lines:
                some = self._lines[:LINES_AT_ONCE]
                await self._store_lines(EventFileId.parse(some[0].file), encode_log(some))
                del self._lines[: len(some)]
            if (feedback := self._feedback) is not None:
                await self._store_feedback(feedback)
                if self._feedback is feedback:
                    self._feedback = None

    async def _store_lines(self, file: EventFileId, lines: bytes) -> None:
        while True:
            key = object_keys.log_key(self._flow, self._movement, file, self._parts)
            self._parts += 1
            try:
                await self._store.put(key, lines, PutCondition.ABSENT)
            except ConflictError:
                continue  # of an earlier attempt, or of another worker
            return

    async def _store_feedback(self, feedback: Feedback) -> None:
        """Store feedback, unless another worker has stored newer one."""
        key = object_keys.feedback_key(self._flow, self._movement, self._importer)
        while True:
            condition: Version | PutCondition = PutCondition.ABSENT
            try:
                stored = await self._store.get(key)
                if decode_feedback(stored.data, key).time > feedback.time:
                    return
                condition = stored.version
            except AbsentError:
                pass
            try:
                await self._store.put(key, encode_feedback(feedback), condition)
            except ConflictError:
                continue
            return


class Awaited:
    """The result of `tell` and `feedback`. It need not be awaited; awaiting it stores what is noted."""

    def __init__(self, people_log: PeopleLog | None) -> None:
        self._people_log = people_log

    def __await__(self) -> Generator[object, None, None]:
        if self._people_log is not None:
            yield from self._people_log.store().__await__()
