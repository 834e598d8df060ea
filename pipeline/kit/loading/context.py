"""The context that an author's handler gets, and the id map behind it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from blake3 import blake3

from pipeline.domain.errors import DefectError
from pipeline.domain.ids import BinaryId, EventFileId, parse_binary_id
from pipeline.kit.authors_line import calling_line, misuse
from pipeline.kit.configuration.secret import without_secrets
from pipeline.kit.errors import Refused
from pipeline.kit.importer import ALL_STREAMS
from pipeline.kit.ledger.id_map import KEY_PARTS, Held, StoredIds, is_no_id, source_text
from pipeline.kit.ledger.kept import IdEntry
from pipeline.kit.ledger.people_log import PeopleLog
from pipeline.kit.loading.handler_log import handler_log
from pipeline.kit.signatures import is_text
from pipeline.kit.values import Binary
from pipeline.log_events import log
from pipeline.ports.destination import NoteBusy, OpenBinary


class WaitsForIdError(Exception):
    """A record needs an id that the id map does not have yet."""

    def __init__(self, kind: str, source: object, hint: str = "") -> None:
        self.needs = kind, source_text(source)
        super().__init__(f"it waits for the new id of {kind} {self.needs[1]!r}, which has not been imported{hint}")


class IdMap:
    """The id map of a Flow, as a handler sees it: what it puts is durable when `put` returns.

    In a transaction, what it puts is `held` until the transaction is committed. `created` are the streams whose handlers
    create objects.
    """

    def __init__(self, ids: StoredIds, movement: int, held: Held | None = None, created: Sequence[str] = ()) -> None:
        self._ids, self._movement, self._held, self._created = ids, movement, held, created

    async def get(self, kind: str, source: object) -> str | None:
        """Return the id at the destination; None when there is none yet, or when `source` is None."""
        return await self._found(_checked_kind(kind), _checked_source(source))

    async def _found(self, kind: str, source: object) -> str | None:
        if is_no_id(source):
            return None
        text = source_text(source)
        if self._held is not None and (held := self._held.get((kind, text))) is not None:
            return held.target
        return await self._ids.target(kind, text)

    async def need(self, kind: str, source: object) -> str:
        """Return the id at the destination, or let the record wait. Refused when `source` is None: it would wait for ever."""
        kind, source = _checked_kind(kind), _checked_source(source)
        if is_no_id(source):
            fault = f"`ids.need` is given {source!r} as an id of {kind!r}. Ask for it only where the row has one"
            raise Refused(f"{calling_line()}: {fault}.")
        found = await self._found(kind, source)
        if found is None:
            raise WaitsForIdError(kind, source, self._hint(kind))
        return found

    def _hint(self, kind: str) -> str:
        """Return which kinds there are, where nothing creates this one: its name may be misspelt."""
        if not {kind, ALL_STREAMS}.isdisjoint(self._created) or self._ids.page(kind, limit=1):
            return ""
        kinds = ", ".join(map(repr, self._created)) or "none"
        return f": no handler creates {kind!r}, and `ids.put` has put none. Kinds that handlers create: {kinds}"

    async def put(self, kind: str, source: object, target: str) -> None:
        """Remember an id. ConfigurationError when it is not text, or when `source` is None."""
        if not is_text(target):
            raise misuse(calling_line(), f"the id map takes text as an id, not {target!r}", "Give str(…)")
        kind, source = _checked_kind(kind), _checked_source(source)
        if is_no_id(source):
            fault = f"`ids.put` is given {source!r} as the id at the source of {kind!r}"
            raise misuse(calling_line(), fault, "Give the key of a row")
        if await self._found(kind, source) == target:
            return
        entry = IdEntry("", self._movement, str(target), "put")
        if self._held is None:
            await self._ids.put(kind, source_text(source), entry)
        else:
            self._held[kind, source_text(source)] = entry

    async def many(self, kind: str, sources: Sequence[object]) -> Mapping[object, str]:
        """Return those of these ids that are known."""
        found = {source: await self.get(kind, source) for source in sources}
        return {source: target for source, target in found.items() if target is not None}


def _checked_kind(kind: object) -> str:
    """Return a kind as plain text. ConfigurationError with the author's line when it is no text."""
    if not is_text(kind):
        raise misuse(calling_line(), f"the id map takes text as a kind, not {kind!r}", "Give the name of a stream")
    return str.__str__(kind)


def _checked_source(source: object) -> object:
    """Return an id of the source as the id map takes it. ConfigurationError with the author's line for what is no key."""
    parts = source if isinstance(source, tuple) else (source,)
    wrong = next((part for part in parts if part is not None and not isinstance(part, KEY_PARTS)), None)
    if wrong is not None or not parts:
        fault = f"the id map takes a key as an id at the source, not a {type(source if not parts else wrong).__name__}"
        raise misuse(calling_line(), fault, "Give the value of a key field, or a tuple of those of several")
    return source[0] if isinstance(source, tuple) and len(parts) == 1 else source


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The context of one record, or of one batch."""

    ids: IdMap
    once_key: str
    flow: str
    movement: int
    file: str
    line: int
    attempt: int
    open_binary: OpenBinary
    people_log: PeopleLog
    original_movement: int | None = None
    is_stopping: Callable[[], bool] = lambda: False
    note_busy: NoteBusy = lambda text, is_over: None
    opened: set[BinaryId] = field(default_factory=set)

    def after(self, failures: int) -> ImportContext:
        """Return the context for the next try, after this number of calls of the handler that failed."""
        return replace(self, attempt=self.attempt + failures) if failures else self

    @property
    def epoch(self) -> int:
        """A number that grows with each Movement of the Flow."""
        return self.movement

    @property
    def stream(self) -> str:
        """The name of the stream."""
        return EventFileId.parse(self.file).stream

    @property
    def stopping(self) -> bool:
        """Whether the Movement is to pause or to stop: it does so between Event Files by itself."""
        return self.is_stopping()

    def tell(self, text: str) -> Awaitable[None]:
        """Write a line to the log, for people. It is stored before the file is marked."""
        log.info("plugin_tells", text=without_secrets(str(text)), file=self.file)
        return self.people_log.tell(self.file, self.line, text)

    def feedback(self, document: object) -> Awaitable[None]:
        """Give feedback on the Movement, in place of earlier feedback."""
        return self.people_log.feedback(document)

    @asynccontextmanager
    async def busy(self, text: str) -> AsyncIterator[None]:
        """Say that something takes long, and count as movement while it lasts. The lease is extended anyway."""
        self.tell(text)
        self.note_busy(text, False)
        try:
            yield
        finally:
            self.note_busy(text, True)

    @property
    def log(self) -> Any:
        """A structlog logger, bound to the file and the line. It writes to the pipeline's log."""
        return handler_log(flow=self.flow, event_file=self.file, line=self.line)

    @asynccontextmanager
    async def binary(self, value: object) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the content of a Binary field. DamagedError at its end when it is not what was stored."""
        if not isinstance(value, Binary) or value.version is None:
            fault = f"ctx.binary is given a value of the type {type(value).__name__}"
            raise misuse(calling_line(), fault, "Give it the value of a Binary field of the row")
        id_ = parse_binary_id(value.version)
        async with self.open_binary(id_) as pieces:
            yield aiter(pieces)
        self.opened.add(id_)


@dataclass(frozen=True, slots=True)
class Contexts:
    """Makes the contexts of the records of one Event File. `held`: ids that are put wait there for a transaction's end.

    `opened` are the Binary Files that handlers have opened, and that were what was stored.
    """

    ids: StoredIds
    namespace: str
    movement: int
    attempt: int
    open_binary: OpenBinary
    people_log: PeopleLog
    original_movement: int | None = None
    is_stopping: Callable[[], bool] = lambda: False
    note_busy: NoteBusy = lambda text, is_over: None
    held: Held | None = None
    created: Sequence[str] = ()
    opened: set[BinaryId] = field(default_factory=set)

    def context(self, file: EventFileId, line: int) -> ImportContext:
        """Return the context of the record on a line. Its `once_key` depends on the file and the line alone."""
        once_key = blake3(f"{self.namespace}\0{file}\0{line}".encode("utf-8", "surrogatepass")).hexdigest(length=20)
        flow = self.namespace.rpartition(" ")[0]
        ids = IdMap(self.ids, self.movement, self.held, self.created)
        return ImportContext(
            ids,
            once_key,
            flow,
            self.movement,
            str(file),
            line,
            self.attempt,
            self.open_binary,
            self.people_log,
            self.original_movement,
            self.is_stopping,
            self.note_busy,
            self.opened,
        )


def not_open(binary: BinaryId) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
    """Stand for the function that opens Binary Files, until the engine has given it."""
    raise DefectError(f"the Binary File {binary} was to be opened before a Movement had begun")
