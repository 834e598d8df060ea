"""What an author has declared, as values that the adapters read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.kit.row_types import RowType

API = 1
"""The version of the kit's interface. A plug-in that is written for another one is refused."""

Function = Callable[..., Any]


class Delivery(StrEnum):
    """How often a handler's effect may happen, from the strongest to the weakest."""

    TRANSACTION = "transaction"
    STAGED = "staged"
    KEYED = "keyed"
    FOUND = "found"
    AT_LEAST_ONCE = "at-least-once"


class Reading(StrEnum):
    """How a stream is read."""

    ROWS = "rows"
    PAGES = "pages"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True)
class DeclaredStream:
    """A stream that an Exporter gives. `ordered` and `shifting` are the author's words about the order of its rows."""

    name: StreamName
    label: Label
    reading: Reading
    function: Function
    row: RowType
    key: tuple[str, ...]
    line: str
    ordered: bool = False
    shifting: bool = False
    scopes: tuple[str, ...] = ()

    @property
    def comes_in_order(self) -> bool:
        """Whether rows come in the order of their keys in records. Decimals do not: they are text there."""
        decimals = {column.name for column in self.row.columns if column.type == "decimal"}
        return self.ordered and decimals.isdisjoint(self.key)

    @property
    def schema(self) -> StreamSchema:
        """The stream's schema."""
        return StreamSchema(self.name, self.label, self.row.columns, self.key)


@dataclass(frozen=True, slots=True)
class Feed:
    """A change feed of a stream. `lag` are the seconds by which the first read of a Movement overlaps the one before.

    `reconcile`: how often the snapshot is made again, to find deletes that the feed has missed; None: never.
    """

    function: Function
    lag: float
    line: str
    reconcile: timedelta | None = None


@dataclass(slots=True)
class Handler:
    """A handler of an Importer for one stream, or for `*`: all streams that no other handler takes.

    `after` names the streams that are imported before.
    """

    stream: str
    function: Function
    row: RowType
    delivery: Delivery
    line: str
    batch: int = 1
    after: tuple[StreamName, ...] = ()
    find: Function | None = None
    update: Function | None = None
    delete: Function | None = None
    publish: Function | None = None

    @property
    def creates(self) -> bool:
        """Whether it creates single objects."""
        return self.delivery in (Delivery.FOUND, Delivery.AT_LEAST_ONCE)


@dataclass(slots=True)
class TransactionFunctions:
    """How an app's transactions are opened, and how marks are kept in them."""

    function: Function
    line: str
    read_marks: Function | None = None
    write_mark: Function | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check before a Movement."""

    id: str
    title: str
    function: Function


@dataclass(slots=True)
class Connection:
    """How the app is opened, and whether the function takes settings."""

    function: Function | None = None
    takes_settings: bool = False
    checks: dict[str, Check] = field(default_factory=dict)
