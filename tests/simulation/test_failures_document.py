"""docs/explanation/failures.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "explanation" / "failures.md"
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())))


def test_every_row_of_every_table_names_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    facts = [row for row in rows if not row.startswith(("| step", "|---"))]
    assert len(facts) > 35
    assert [row for row in facts if "::test_" not in row] == []


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: str(part))
def test_a_named_test_exists(file: str, name: str) -> None:
    path = TESTS / file if "/" in file else TESTS / "simulation" / file
    assert re.search(rf"^ *(?:async )?def {name}\(", path.read_text(), re.MULTILINE), f"{path} has no {name}"
