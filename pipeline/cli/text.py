"""Words and numbers as people read them on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width


def printable(text: str) -> str:
    """Return `text` on one line with every control character and lone surrogate escaped.

    Names and messages come from other people's data; they must not move the cursor or colour the screen.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """Return the number with its noun: "1 file", "2,000 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Return a number of bytes with three digits or so: "812 B", "16.0 MB"."""
    if number < 1_000:
        return f"{number} B"
    value, units = number / 1_000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1_000
        units.pop(0)
    return f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a time that has passed or is left: "0.8 s", "3 m 20 s", "2 h 5 m"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} m {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} m"


def columns(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Align the cells of `rows`: the first column to the left, numbers to the right, two spaces between."""
    if not rows:
        return []
    widths = [max(_width(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            _pad(cell, width, left=index == 0) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, *, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text
