"""Cells of CSV that people open: a spreadsheet takes text that begins like a formula for one, and would run or change it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"'*[\t\r\n ]*[=+\-@\t\r\n＝＋－＠]")
_NEGATIVE = re.compile(r"-\d+(\.\d+)?")


def guarded(values: Iterable[object]) -> Sequence[object]:
    """Return the cells of a row, with `'` before text that begins like a formula. Numbers stay as they are."""
    return [f"'{value}" if isinstance(value, str) and _is_like_formula(value) else value for value in values]


def unguarded(cell: str) -> str:
    """Return the text of a cell that `guarded` made, or that a person wrote."""
    return cell[1:] if cell.startswith("'") and _is_like_formula(cell) else cell


def _is_like_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NEGATIVE.fullmatch(text) is None
