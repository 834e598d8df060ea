"""The context of an import: what an author's function may ask and tell while it imports a record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Ids(Protocol):
    """The id map: which id of the source became which id of the destination, by kind. A kind is a stream's name."""

    async def get(self, kind: str, source: object) -> str | None:
        """Return the id at the destination; None when there is none yet, or when `source` is None."""
        ...

    async def need(self, kind: str, source: object) -> str:
        """Return the id at the destination. While there is none, the record waits and is tried again by itself.

        `source` is a key, a tuple if it has several columns. For None, the record is rejected with your line.
        """
        ...

    async def put(self, kind: str, source: object, target: str) -> None:
        """Remember an id at the destination."""
        ...

    async def many(self, kind: str, sources: Sequence[object]) -> Mapping[object, str]:
        """Return those of these ids that are known."""
        ...


class Import(Protocol):
    """The record, file and Movement that a function works for, and what it may ask of the pipeline."""

    @property
    def ids(self) -> Ids:
        """The id map of the Flow."""
        ...

    @property
    def once_key(self) -> str:
        """One text per version of a record, the same on every attempt: for targets with idempotency keys."""
        ...

    @property
    def flow(self) -> str:
        """The name of the Flow."""
        ...

    @property
    def movement(self) -> int:
        """The number of the Movement."""
        ...

    @property
    def stream(self) -> str:
        """The name of the stream: a handler for "*" takes several."""
        ...

    @property
    def file(self) -> str:
        """The id of the Event File."""
        ...

    @property
    def line(self) -> int:
        """The line of the record in the Event File; of a batch, that of its first record."""
        ...

    @property
    def attempt(self) -> int:
        """Which try this is, 1 at first: it counts calls that failed, and times that this process began the file again."""
        ...

    @property
    def log(self) -> Any:
        """A structlog logger, bound to the file. It writes to the pipeline's log, on standard error, without secrets."""
        ...

    @property
    def epoch(self) -> int:
        """A number that grows with each Movement. A target that keeps it can refuse a call with an earlier one: a late worker's."""
        ...

    @property
    def original_movement(self) -> int | None:
        """The Movement that this one runs again, the same however often; None if it is no re-run."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the Movement is to pause or to stop. A handler may ignore it: it does so between Event Files by itself."""
        ...

    def tell(self, text: str) -> Awaitable[None]:
        """Write a line to the log, for people. It need not be awaited."""
        ...

    def feedback(self, document: object) -> Awaitable[None]:
        """Give feedback on the Movement, as JSON of at most 64 KB, in place of earlier feedback. It need not be awaited."""
        ...

    def busy(self, text: str) -> AbstractAsyncContextManager[None]:
        """Say that something takes long while the context is open."""
        ...

    def binary(self, value: object) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the content of a Binary field. The iterator raises at its end when the content is damaged."""
        ...
