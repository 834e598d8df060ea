"""The reference of the kit names every public name, parameter and member, and says of each what it is."""

from __future__ import annotations

import re

from pipeline.kit import Creates, Exporter, Ids, Import, Importer, Stages, Transaction
from tests.kit.reference import INNER, PAGE, page, signature

EXPLAINED = PAGE.with_name("kit.md").read_text()
CODE = {word for code in re.findall(r"`[^`\n]+`", EXPLAINED) for word in re.findall(r"\w+", code)}
"""The words of the page kit.md that are written as code."""


def test_the_names_are_those_of_the_docstrings() -> None:
    assert PAGE.read_text() == page(), "write the page again: .venv/bin/python -m tests.kit.reference"


def test_every_declaration_and_parameter_is_explained() -> None:
    wanted = set[str]()
    for owner in (Exporter, Importer, Creates, Stages, Transaction):
        for base in owner.__mro__[:-1]:
            for name, method in vars(base).items():
                if callable(method) and name not in INNER and (name == "__init__" or not name.startswith("_")):
                    wanted |= {name, *signature(method).parameters} - {"__init__", "function", "handler", "functions"}
    assert len(wanted) > 30
    assert wanted - CODE == set()


def test_every_member_of_the_context_is_explained() -> None:
    members = {name for owner in (Import, Ids) for name in vars(owner) if not name.startswith("_")}
    assert len(members) > 15
    assert members - CODE == set()
