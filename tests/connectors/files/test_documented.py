"""docs/reference/trees.md says of each kind what becomes of it, and names a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "reference" / "trees.md"
ROWS = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (?!kind |case )", line)]


def test_there_is_a_row_for_each_kind() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_names_a_test_that_exists(row: str) -> None:
    (named,) = re.findall(r"`(\w+\.py)::(\w+)` \|$", row)
    file, name = named
    assert re.search(rf"^(?:async )?def {name}\(", (HERE / file).read_text(), re.MULTILINE)
