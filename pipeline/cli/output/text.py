"""Formats text and numbers for a terminal. (rich.filesize would do, but importing rich takes too long.)"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

from pipeline.domain.movement import Movement
from pipeline.wording import duration, moment, size

__all__ = ["columns", "count", "duration", "group_wish_lines", "moment", "printable", "size"]


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


def group_wish_lines(movement: Movement) -> list[str]:
    """Return a line for each group that people want to pause or to stop."""
    wishes = sorted(movement.group_wishes.items())
    return [f"Group {printable(label)} is to {wish.want}, {printable(str(wish))}." for label, wish in wishes]
