"""What authors' functions take and return: pages, changes, contents, batches and findings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

import msgspec

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

JSON = "json"
NAIVE = "timestamp"

Json = Annotated[Any, JSON]
"""The type of a field that holds any JSON value: it is kept as its text."""
NaiveDatetime = Annotated[datetime, NAIVE]
"""The type of a field with a time that has no zone. A plain `datetime` must have one."""

KeyPart = int | str | float | bytes | bool
Key = KeyPart | tuple[KeyPart, ...]
"""The key of a row: the value of its key field, or a tuple of those of several."""


@dataclass(frozen=True, slots=True)
class Page(Generic[R_co]):
    """A page of a list. `next` is the cursor of the page after it, None for the last; `total` counts all rows."""

    rows: Sequence[R_co]
    next: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Changes(Generic[R_co]):
    """Rows that changed, keys that are gone, and the cursor after them. `more`: ask again at once."""

    upserts: Sequence[R_co]
    deletes: Sequence[Key] = ()
    cursor: str | None = None
    more: bool = False


OpenContent = os.PathLike[str] | str | bytes | Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Binary:
    """The content of a Binary File: a path, bytes, or a function that gives an iterator of bytes.

    While `version` is the one that was moved before, the content is not read.
    """

    open: OpenContent = field(repr=False)
    version: str | None = None
    name: str | None = None
    media_type: str | None = None


class Upsert(msgspec.Struct, Generic[R], gc=False):
    """The row with this key now has these values, whether it existed or not. `line` is its line in the Event File."""

    key: Key
    row: R
    line: int


class Delete(msgspec.Struct, gc=False):
    """The row with this key no longer exists."""

    key: Key
    line: int


@dataclass(slots=True)
class Batch(Generic[R]):
    """Records of one stream, in order. `refuse` rejects one of them; the others count as applied."""

    records: Sequence[Upsert[R] | Delete]
    refused: dict[int, tuple[str, str | None]] = field(default_factory=dict, repr=False)
    """The reason and column of each rejected record, by its `id()`: lines may be of several Event Files."""

    @property
    def upserts(self) -> Sequence[Upsert[R]]:
        """The upserts, in order."""
        return [record for record in self.records if isinstance(record, Upsert)]

    @property
    def deletes(self) -> Sequence[Delete]:
        """The deletes, in order."""
        return [record for record in self.records if isinstance(record, Delete)]

    def refuse(self, record: Upsert[R] | Delete, reason: str, column: str | None = None) -> None:
        """Reject one record of the batch, with the reason in the app's words."""
        self.refused[id(record)] = (str(reason), None if column is None else str(column))


@dataclass(slots=True)
class StagedFile(Batch[R]):
    """All records of an Event File, in order. `id` is that of the file: it is the same whenever the file is staged again."""

    id: str = ""


class Level(StrEnum):
    """How serious a finding is. An ERROR keeps a Movement from beginning."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in a sentence, and what to do about it.

    `count` is how many things were found, `sample` names up to five of them, and `steps` says what to do. An ERROR that is
    `excludable` can be accepted for a Flow; it keeps no Movement from beginning then.
    """

    text: str
    level: Level = Level.WARNING
    count: int = 0
    sample: Sequence[str] = ()
    steps: str = ""
    excludable: bool = False
