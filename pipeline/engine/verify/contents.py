"""Comparing contents: the source has the id of a Binary File where a database has its bytes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence

from blake3 import blake3

from pipeline.domain.comparison.values import Pairing
from pipeline.domain.contents import parse_content

Row = Mapping[str, object] | None


def with_ids(pairing: Pairing, rows: Sequence[Row], copies: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the rows of both sides with ids in place of contents, so that they compare."""
    contents = [pair for pair in pairing.pairs if pair.is_content and pair.destination is not None]
    if not contents:
        return rows, copies
    return (
        _replaced(rows, [pair.source for pair in contents], _id_in),
        _replaced(copies, [str(pair.destination) for pair in contents], _id_of),
    )


def _replaced(rows: Sequence[Row], names: Sequence[str], id_of: Callable[[object], object]) -> Sequence[Row]:
    return [row and {**row, **{name: id_of(row.get(name)) for name in names}} for row in rows]


def _id_in(value: object) -> object:
    """Return the id in a value of the type `binary`, without the name and media type."""
    try:
        return parse_content(value).id if isinstance(value, str) else value
    except ValueError:
        return value


def _id_of(value: object) -> object:
    """Return the id of the content that a value of the type `bytes` holds."""
    match value:
        case {"$bytes": str(text)}:
            return blake3(b64decode(text)).hexdigest()
        case _:
            return value
