"""An index on disk of what a journal holds, so that memory does not grow with it. It lives as long as a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.temporary_database import TemporaryDatabase

PAGE_ROWS = 1000
CACHE_KILOBYTES = 8000
"""The memory of an index; what does not fit is in the temporary directory."""
_ALL = "SELECT kind, key, version, place, value FROM entry"
_TABLE = """
CREATE TABLE entry (
    kind TEXT, key TEXT, version INTEGER, place TEXT, value BLOB, PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""
_NEWER = """
INSERT INTO entry VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET version = excluded.version, place = excluded.place, value = excluded.value
WHERE (excluded.version, excluded.value IS NULL, excluded.value) > (version, value IS NULL, value)
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a journal says of a key of one kind. `value` is None when there is nothing any more.

    `version` grows with each change of the key. `place` is what entries are found and ordered by beside their keys.
    """

    kind: str
    key: str
    version: int
    place: str
    value: bytes | None


class Index:
    """Entries in a temporary database. Its calls take some microseconds each."""

    def __init__(self) -> None:
        self._database = TemporaryDatabase(_TABLE, CACHE_KILOBYTES)
        self._has_places = False

    def close(self) -> None:
        """Remove it."""
        self._database.close()

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries; of those with one key the newest counts."""
        self._database.run_all(_NEWER, ((one.kind, one.key, one.version, one.place, one.value) for one in entries))

    def get(self, kind: str, key: str) -> Entry | None:
        """Return the entry of a key, also one that is gone."""
        found = self._database.rows(f"{_ALL} WHERE kind = ? AND key = ?", (kind, key))
        return Entry(*found[0]) if found else None

    @property
    def is_empty(self) -> bool:
        """Whether no key has a value."""
        return not self._database.rows("SELECT 1 FROM entry WHERE value IS NOT NULL LIMIT 1")

    def kinds(self) -> Sequence[str]:
        """Return all kinds."""
        return [kind for (kind,) in self._database.rows("SELECT DISTINCT kind FROM entry")]

    def find(self, kind: str, place: str) -> Entry | None:
        """Return an entry of this kind at this place; None when there is none."""
        self._index_places()
        found = self._database.rows(f"{_ALL} WHERE kind = ? AND place = ? AND value IS NOT NULL LIMIT 1", (kind, place))
        return Entry(*found[0]) if found else None

    def page(self, kind: str, after: str, limit: int) -> Sequence[Entry]:
        """Return entries of this kind with a value, in the order of their keys, behind the key `after`."""
        rows = self._database.rows(
            f"{_ALL} WHERE kind = ? AND key > ? AND value IS NOT NULL ORDER BY key LIMIT ?", (kind, after, limit)
        )
        return [Entry(*row) for row in rows]

    def pages(self) -> Iterator[Sequence[Entry]]:
        """Yield all entries with a value by kind and place, in pages. They may be changed meanwhile."""
        self._index_places()
        last: tuple[object, ...] = ("", "", "")
        while True:
            rows = self._database.rows(
                f"{_ALL} WHERE (kind, place, key) > (?, ?, ?) AND value IS NOT NULL "
                f"ORDER BY kind, place, key LIMIT {PAGE_ROWS}",
                last,
            )
            if not rows:
                return
            yield [Entry(*row) for row in rows]
            last = rows[-1][0], rows[-1][3], rows[-1][1]

    def _index_places(self) -> None:
        """Make the index by places when it is needed first: most sessions never ask for it."""
        if not self._has_places:
            self._database.run("CREATE INDEX by_place ON entry (kind, place, key) WHERE value IS NOT NULL")
            self._has_places = True
