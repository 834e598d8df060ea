"""Rows that were stored and are not in a list that was read again."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.kit.reading.encoding import EncodedRow
from pipeline.kit.reading.sorting import RowSorter

DELETE = b'{"delete":'
ABSENT = b'{"absent":'
"""Begins the line of a row that the last list did not have. It may have been on a page that moved."""
_UPSERT = b'{"upsert":'


def missing_rows(before: RowSorter, now: RowSorter, *, gone_twice: bool) -> Iterator[EncodedRow]:
    """Yield the rows of `before` that are not in `now`. `gone_twice`: without those that the list before did not have."""
    present = now.sorted_rows()
    row = next(present, None)
    for old in before.sorted_rows():
        while row is not None and row.key < old.key:
            row = next(present, None)
        is_there = row is not None and row.key == old.key
        if not is_there and not old.line.startswith(DELETE) and not (gone_twice and was_absent(old)):
            yield as_present(old)


def was_absent(row: EncodedRow) -> bool:
    """Whether the list before did not have a row."""
    return row.line.startswith(ABSENT) or row.line.endswith(b',"absent":true}')


def as_absent(row: EncodedRow) -> EncodedRow:
    """Return a row as one that the last list does not have."""
    if row.line.startswith(_UPSERT):
        return EncodedRow(row.key, ABSENT + row.line.removeprefix(_UPSERT))
    return row if was_absent(row) else EncodedRow(row.key, row.line.removesuffix(b"}") + b',"absent":true}')


def as_present(row: EncodedRow) -> EncodedRow:
    """Return a row that the last list did not have as it was."""
    return EncodedRow(row.key, _UPSERT + row.line.removeprefix(ABSENT)) if row.line.startswith(ABSENT) else row
