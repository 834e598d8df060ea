"""The port to what an app holds, read back to be compared with the source of its Flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Rejection
from pipeline.ports.source import Snapshot


@dataclass(frozen=True, slots=True)
class Repeats:
    """Keys that more than one object of a stream has: how many they are, the first of them, and the objects too many."""

    keys: int = 0
    first: tuple[Key, ...] = ()
    objects: int = 0


@runtime_checkable
class AppCopy(Snapshot, Protocol):
    """A Snapshot of an app, which may have ids of its own for what it holds. Its rows have the keys of the source."""

    @property
    def why_not(self) -> str:
        """Why nothing of the app can be read; empty if it can."""
        ...

    def handles(self, stream: StreamName) -> bool:
        """Return whether the app takes a stream of the source."""
        ...

    def rejection(self, stream: StreamName, key: str) -> Rejection | None:
        """Return why the app does not have the latest record with a key, which is JSON text; None if that is not known."""
        ...

    def ignored_columns(self, schema: StreamSchema) -> Sequence[str]:
        """Return the columns of a stream of the source that the app is never given."""
        ...

    def unknown(self, stream: StreamName) -> tuple[int, Sequence[Key]]:
        """Return how many objects of a stream the Flow has not put there, and the app's ids of the first of them."""
        ...

    def repeats(self, stream: StreamName) -> Repeats:
        """Return the keys that more than one object of a stream has, once its rows are read: they have each key once."""
        ...

    async def is_id_of(self, here: object, there: object) -> bool:
        """Return whether `there`, a value of a row of the app, is its id for what the source refers to as `here`."""
        ...
