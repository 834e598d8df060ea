"""Formats text and numbers for a terminal. (rich.filesize would do, but importing rich takes too long.)"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from unicodedata import east_asian_width


def printable(text: str) -> str:
    """Return `text` on one line, with every control character and lone surrogate escaped.

    Names and messages contain data of others, which must not move the cursor or colour the screen.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """Return the number with its noun: "1 file", "2,000 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Return a number of bytes: "812 B", "16.0 MB"."""
    if number < 1_000:
        return f"{number} B"
    value, units = number / 1_000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1_000
        units.pop(0)
    return f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a length of time: "0.8 s", "3 m 20 s", "2 h 5 m"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} m {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} m"


def moment(when: datetime) -> str:
    """Return a time with its zone: "2026-07-03 12:00:09 UTC"."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def columns(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Return `rows`, of which the first holds titles, as aligned lines: numbers to the right, words to the left."""
    columns = [list(cells) for cells in zip(*rows, strict=True)]
    padded = [_padded(cells, left=not all(map(_like_number, cells[1:]))) for cells in columns]
    return [(indent + "  ".join(cells)).rstrip() for cells in zip(*padded, strict=True)]


def _like_number(cell: str) -> bool:
    return cell[:1].isdecimal() or cell in ("", "–", "?")


def _padded(cells: Sequence[str], *, left: bool) -> list[str]:
    width = max(map(_width, cells))
    spaces = [" " * (width - _width(cell)) for cell in cells]
    return [cell + space if left else space + cell for cell, space in zip(cells, spaces, strict=True)]


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
