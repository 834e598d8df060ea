"""Counting the rows of a list, and comparing them with what its app says that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.kit.configuration.secret import described
from pipeline.log_events import log
from pipeline.ports.source import ReadProgress


def as_list(value: object, what: str, where: str) -> Sequence[Any]:
    """Return a list that an author's function has given. UnreadableError when it is none: None is no empty list."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value
    raise UnreadableError(f"{where}: {what} are of the type {type(value).__name__}. Give a list")


def as_cursor(value: object, where: str, what: str) -> str | None:
    """Return a cursor as text, None for none. UnreadableError when it is something else, or no valid text."""
    if value is None:
        return None
    try:
        text = str.__str__(value)  # it may be of a class of the author's
        text.encode()
    except (TypeError, UnicodeEncodeError):
        raise UnreadableError(f"{where}: {what} {described(value)}. Return text, or None where there is none") from None
    return text


class ListCount:
    """The rows of one list that have come so far, and the totals that the app has given, which change while it changes."""

    def __init__(self, stream: StreamName, progress: ReadProgress | None) -> None:
        self._stream, self._progress = stream, progress
        self._rows = self._longest = self._last = self._pages = 0
        self._totals: tuple[int, int] | None = None
        self._cursor: str | None = None
        self._cursors, self._until = 0, 1

    def repeats(self, cursor: str) -> bool:
        """Count a cursor; return whether it is one that has come before.

        It is compared with one earlier cursor, the one after 1, 2, 4, 8 … others (Brent's algorithm). So a circle is found
        after three times its pages at most, in constant memory.
        """
        if cursor == self._cursor:
            return True
        self._cursors += 1
        if self._cursors == self._until:
            self._cursor, self._until = cursor, 2 * self._until
        return False

    def add(self, rows: int, total: int | None = None) -> None:
        """Count a page or a batch of rows."""
        self._rows, self._pages = self._rows + rows, self._pages + 1
        self._longest, self._last = max(self._longest, self._last), rows
        if total is not None:
            least, most = self._totals or (total, total)
            self._totals = min(least, total), max(most, total)
        if self._progress is not None:
            if total is not None:
                self._progress.expect(self._stream, total)
            self._progress.read(self._stream, rows)

    @property
    def is_whole(self) -> bool:
        """Whether as many rows have come as the app says that there are."""
        return self._totals is None or self._rows >= self._totals[0]

    def __str__(self) -> str:
        return f"the app has given {self._rows:,} rows of it, and says that there are {(self._totals or (0, 0))[0]:,}"

    def end(self) -> None:
        """Log what is odd about a list that has ended."""
        if self._totals is not None:
            least, most = self._totals
            if not least <= self._rows <= most:
                log.warning("list_total_differs", stream=self._stream, rows=self._rows, total=most)
        elif self._pages > 1 and self._last >= self._longest:
            log.warning("last_page_full", stream=self._stream, rows=self._rows, page_rows=self._last)
