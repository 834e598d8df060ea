"""The reference of `pipeline.testing` is that of its docstrings, and names what there is."""

from __future__ import annotations

import pipeline.testing
from tests.testing.reference import PAGE, page


def test_the_page_is_that_of_the_docstrings() -> None:
    assert PAGE.read_text() == page(), "write the page again: .venv/bin/python -m tests.testing.reference"


def test_every_public_name_is_there() -> None:
    for name in pipeline.testing.__all__:
        assert getattr(pipeline.testing, name).__doc__
        assert f"## `{name}(" in page()
