"""Exporter: what gets data out of an app."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any, Generic, Literal, TypeVar

from pipeline.domain.ids import Label, StreamName
from pipeline.kit.authors_line import calling_line, line_of, misuse
from pipeline.kit.declared import DeclaredStream, Feed, Function, Reading
from pipeline.kit.plugin import CheckDeclaration, Plugin
from pipeline.kit.row_types import RowType, row_type
from pipeline.kit.signatures import check_coroutine, check_generator, check_name
from pipeline.kit.values import Changes, Page

C = TypeVar("C")
R = TypeVar("R")
KeyNames = str | tuple[str, ...]
ScratchFunction = TypeVar("ScratchFunction", bound=Callable[[], AsyncIterator[object]])
ChangeFunction = TypeVar("ChangeFunction", bound=Callable[[Any, Random], Coroutine[Any, Any, None]])


class Exporter(Plugin):
    """What gets data out of an app. `contract` is the name and version of the shape of its data, such as `tracker/1`."""

    def __init__(self, name: str, *, contract: str | None = None, api: int = 1) -> None:
        """ConfigurationError when this kit does not know `api`, the version that the author wrote for."""
        super().__init__(name, api)
        if contract is not None:
            check_name(contract, "the contract", self.line)
        self.contract = contract
        self.streams: dict[StreamName, DeclaredStream] = {}
        self.feeds: dict[StreamName, Feed] = {}
        self.fetches: dict[StreamName, Function] = {}
        self.estimates: dict[StreamName, Function] = {}
        self.scratch_function: Function | None = None
        self.change_function: Function | None = None

    def rows(
        self,
        stream: str,
        *,
        row: type[R],
        key: KeyNames,
        ordered: bool = False,
        group: str | None = None,
        columns: Mapping[str, Any] | None = None,
        scopes: Sequence[str] = (),
    ) -> RowsDeclaration[R]:
        """Declare a function that gives all rows of a stream. `ordered` says that they come in ascending key order."""
        line = calling_line()
        type_, names = _keyed(row_type(row, columns, line), key, line)
        return RowsDeclaration(self, stream, group, type_, names, _scopes(scopes, line), ordered=ordered)

    def pages(
        self,
        stream: str,
        *,
        row: type[R],
        key: KeyNames,
        order: Literal["shifting", "stable"] = "shifting",
        group: str | None = None,
        columns: Mapping[str, Any] | None = None,
        scopes: Sequence[str] = (),
    ) -> PagesDeclaration[R]:
        """Declare a function that gives one page of a stream.

        `order`: "stable" for keyset or snapshot cursors; "shifting" where rows may move between pages while one reads.
        """
        line = calling_line()
        if order not in ("shifting", "stable"):
            raise misuse(line, f"order={order!r} is unknown", 'Write order="shifting" or order="stable"')
        type_, names = _keyed(row_type(row, columns, line), key, line)
        scopes, shifting = _scopes(scopes, line), order == "shifting"
        return PagesDeclaration(self, stream, group, type_, names, scopes, shifting=shifting)

    def changes(
        self,
        stream: str,
        *,
        row: type[R],
        key: KeyNames,
        lag: float = 0,
        reconcile: str | None = None,
        group: str | None = None,
        columns: Mapping[str, Any] | None = None,
        scopes: Sequence[str] = (),
    ) -> ChangesDeclaration[R]:
        """Declare a change feed. If `rows` or `pages` of the stream are declared too, they make the snapshot.

        `lag`: the first read of a Movement begins this many seconds before the cursor, which must then be a number or an
        ISO 8601 time. `reconcile`: how often the snapshot is made again, to find missed deletes, such as "7d" or "12h".
        """
        line = calling_line()
        type_, names = _keyed(row_type(row, columns, line), key, line)
        snapshot = self.streams.get(StreamName(stream))
        if snapshot is not None:
            _check_alike(
                snapshot, type_, names, f"the changes of {stream!r} have", f"its snapshot ({snapshot.line})", line
            )
        _check_lag(lag, line)
        every = None if reconcile is None else _duration(reconcile, line)
        return ChangesDeclaration(self, stream, group, type_, names, _scopes(scopes, line), lag=lag, reconcile=every)

    def fetch(self, stream: str) -> FetchDeclaration:
        """Declare a function that gives single rows by their keys."""
        return FetchDeclaration(self, stream)

    def estimate(self, stream: str) -> EstimateDeclaration:
        """Declare a function that says how many rows a stream has, about."""
        return EstimateDeclaration(self, stream)

    def check(self, id: str, *, title: str) -> CheckDeclaration:  # the fixed name of the kit
        """Declare a check that runs before a Movement."""
        return CheckDeclaration(self.connection, id, title)

    def scratch(self, function: ScratchFunction) -> ScratchFunction:
        """Declare a function that gives the client of a new app for tests: `async def f()` with one `yield`."""
        check_generator(function, "the scratch app", ())
        self.scratch_function = function
        return function

    def change(self, function: ChangeFunction) -> ChangeFunction:
        """Declare a function that makes one change to the app for tests: it inserts, updates or deletes a row."""
        check_coroutine(function, "a change of the app", ("client", "random"))
        self.change_function = function
        return function

    def add(self, stream: DeclaredStream) -> None:
        """Add a stream. ConfigurationError when there is one of this name, unless it is the snapshot of its change feed."""
        before = self.streams.get(stream.name)
        if before is not None and before.reading is Reading.CHANGES and stream.reading is not Reading.CHANGES:
            snapshot, feed = f"the snapshot of {stream.name!r} has", f"its changes ({before.line})"
            _check_alike(before, stream.row, stream.key, snapshot, feed, stream.line)
        elif before is not None:
            raise misuse(stream.line, f"stream {stream.name!r} is declared twice", "Give one of them another name")
        if stream.name.startswith("@"):
            raise misuse(
                stream.line, f"the stream {stream.name!r} begins with @, as the pipeline's own do", "Rename it"
            )
        self.streams[stream.name] = stream


def check_feeds(exporter: Exporter) -> None:
    """Check what only shows once all is declared, in whatever order. ConfigurationError with the author's line."""
    for name, feed in exporter.feeds.items():
        if feed.reconcile is not None and exporter.streams[name].reading is Reading.CHANGES:
            fault = f"the changes of {name!r} have `reconcile`, and the stream has no snapshot"
            raise misuse(feed.line, fault, "Declare its `rows` or `pages`, or leave `reconcile` out")


def _check_alike(one: DeclaredStream, row: RowType, key: tuple[str, ...], this: str, other: str, line: str) -> None:
    if (one.row.columns, one.key) != (row.columns, key):
        raise misuse(line, f"{this} another row or key than {other}", "Give both the same row and key")


class _StreamDeclaration(Generic[R]):
    """A declaration that waits for its function."""

    def __init__(
        self,
        exporter: Exporter,
        stream: str,
        group: str | None,
        row: RowType,
        key: tuple[str, ...],
        scopes: tuple[str, ...],
        *,
        ordered: bool = False,
        shifting: bool = False,
        lag: float = 0,
        reconcile: timedelta | None = None,
    ) -> None:
        self._lag, self._reconcile = lag, reconcile
        self._exporter, self._row, self._key, self._scopes = exporter, row, key, scopes
        self._stream, self._label = StreamName(stream), Label(stream if group is None else group)
        check_name(stream, "a stream", calling_line())
        check_name(self._label, "a group", calling_line())
        self._ordered, self._shifting = ordered, shifting

    def _declare(self, reading: Reading, function: Function) -> None:
        self._exporter.add(
            DeclaredStream(
                self._stream,
                self._label,
                reading,
                function,
                self._row,
                self._key,
                line_of(function),
                ordered=self._ordered,
                shifting=self._shifting,
                scopes=self._scopes,
            )
        )


class RowsDeclaration(_StreamDeclaration[R]):
    """Declares the function for `rows`."""

    def __call__(self, function: Callable[[C], AsyncIterator[R]]) -> Callable[[C], AsyncIterator[R]]:
        """Declare `function`."""
        check_generator(function, f"the rows of {self._stream!r}", ("client",))
        self._declare(Reading.ROWS, function)
        return function


class PagesDeclaration(_StreamDeclaration[R]):
    """Declares the function for `pages`."""

    def __call__(
        self, function: Callable[[C, str | None], Coroutine[Any, Any, Page[R]]]
    ) -> Callable[[C, str | None], Coroutine[Any, Any, Page[R]]]:
        """Declare `function`."""
        check_coroutine(function, f"the pages of {self._stream!r}", ("client", "after"))
        self._declare(Reading.PAGES, function)
        return function


class ChangesDeclaration(_StreamDeclaration[R]):
    """Declares the function for `changes`."""

    def __call__(
        self, function: Callable[[C, str | None], Coroutine[Any, Any, Changes[R]]]
    ) -> Callable[[C, str | None], Coroutine[Any, Any, Changes[R]]]:
        """Declare `function`."""
        check_coroutine(function, f"the changes of {self._stream!r}", ("client", "since"))
        if self._stream in self._exporter.feeds:
            raise misuse(line_of(function), f"stream {self._stream!r} has two change feeds", "Keep one")
        self._exporter.feeds[self._stream] = Feed(function, self._lag, line_of(function), self._reconcile)
        if self._stream not in self._exporter.streams:
            self._declare(Reading.CHANGES, function)
        return function


class _OfStream:
    def __init__(self, exporter: Exporter, stream: str) -> None:
        self._exporter, self._stream = exporter, StreamName(stream)
        if self._stream not in exporter.streams:
            raise misuse(
                calling_line(),
                f"stream {stream!r} is not declared yet",
                "Declare it with `rows` or `pages` above this function",
            )


class FetchDeclaration(_OfStream):
    """Declares the function for `fetch`."""

    def __call__(
        self, function: Callable[[C, Sequence[Any]], Coroutine[Any, Any, Sequence[R]]]
    ) -> Callable[[C, Sequence[Any]], Coroutine[Any, Any, Sequence[R]]]:
        """Declare `function`."""
        check_coroutine(function, f"single rows of {self._stream!r}", ("client", "keys"))
        self._exporter.fetches[self._stream] = function
        return function


class EstimateDeclaration(_OfStream):
    """Declares the function for `estimate`."""

    def __call__(self, function: Callable[[C], Coroutine[Any, Any, int]]) -> Callable[[C], Coroutine[Any, Any, int]]:
        """Declare `function`."""
        check_coroutine(function, f"the estimate of {self._stream!r}", ("client",))
        self._exporter.estimates[self._stream] = function
        return function


_DURATION = re.compile(r"(?P<count>[1-9]\d{0,8})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(text: object, line: str) -> timedelta:
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise misuse(line, f"reconcile={text!r} is no duration", 'Write a number and s, m, h, d or w, such as "7d"')
    return timedelta(**{_UNITS[found["unit"]]: int(found["count"])})


_KEY_TYPES = frozenset(
    {"boolean", "bytes", "date", "decimal", "integer", "real", "text", "time", "timestamp", "timestamptz", "uuid"}
)


MOST_LAG_SECONDS = 10 * 366 * 86_400


def _check_lag(lag: object, line: str) -> None:
    if isinstance(lag, bool) or not isinstance(lag, int | float) or not 0 <= lag <= MOST_LAG_SECONDS:
        raise misuse(line, f"lag={lag!r} is not possible", "Write a number of seconds, from 0 to ten years")


def _scopes(scopes: Sequence[str], line: str) -> tuple[str, ...]:
    if isinstance(scopes, str):
        raise misuse(line, f"scopes={scopes!r} is a text", f"Give several: scopes=({scopes!r},)")
    for scope in scopes:
        check_name(scope, "a scope", line)
    return tuple(scopes)


def _keyed(row: RowType, key: KeyNames, line: str) -> tuple[RowType, tuple[str, ...]]:
    """Return a row type with this key, and the names of the key's fields."""
    given: object = key  # an author may give anything
    names = tuple(given) if isinstance(given, tuple | list) else (key,)
    if not names:
        raise misuse(line, "the key is empty", "Name the field that identifies a row")
    fields = {field.column.name: field for field in row.fields}
    for name in names:
        if names.count(name) > 1:
            raise misuse(line, f"the key names {name!r} twice", "Name each field once")
        if not isinstance(name, str) or name not in fields:
            known = ", ".join(fields)
            raise misuse(line, f"the key names {name!r}, which the row does not have", f"The row has: {known}")
        field = fields[name]
        if field.column.type not in _KEY_TYPES:
            raise misuse(line, f"the key field {name!r} is of the type {field.column.type}", "Name another key")
        if field.may_be_none:
            raise misuse(line, f"the key field {name!r} may be None", "A key is never None: change its annotation")
    return row.keyed(names), names
