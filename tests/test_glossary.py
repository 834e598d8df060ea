"""The retired words of docs/reference/glossary.md stay retired, in names and in prose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("pipeline", "tests/simulation", "tests/crash") for path in (ROOT / folder).rglob("*.py")]
FILES = sorted([*CODE, *ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
RETIRED = [
    r"aftercare", r"bookkeeping", r"by turns", r"\bby_turns", r"carried out in vain", r"in vain\b", r"\banew\b", r"complaint",
    r"\berrand", r"\bsomebody\b", r"\bwhoever\b", r"\bset aside\b", r"second reader", r"second_reader", r"unacceptable",
    r"\bunfit\b", r"obstructed", r"quarantine(?!d)", r"import_apart\b(?!`)", r"\bpromises\b(?![`\"])", r"SharedMover",
    r"\bso many\b",
]  # fmt: skip
HOUSEHOLD = {
    "aftercare", "apart", "beginning", "by_hand", "by_itself", "by_turns", "complaint", "draining", "following", "keeping",
    "so_far", "telling",
}  # fmt: skip
"""Names that do not say what a module is about."""
ALLOWED = {
    "glossary.md": RETIRED,
    "CHANGELOG.md": [r"import_apart\b(?!`)"],
    "reading.py": [r"import_apart\b(?!`)"],
}


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_retired_word_does_not_come_back(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in FILES
        if pattern not in ALLOWED.get(path.name, ())
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert found == []


def test_no_module_has_a_household_name() -> None:
    assert {path.stem for path in (ROOT / "pipeline").rglob("*.py")} & HOUSEHOLD == set()
