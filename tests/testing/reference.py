"""The page docs/reference/testing.md, made from the signatures and docstrings of `pipeline.testing`.

`python -m tests.testing.reference` writes it; a test holds it equal.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pipeline.testing
from pipeline.testing import pytest_plugin
from pipeline.testing.suites.fixture_streams import FIXTURES, LARGE

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "testing.md"
HEAD = """\
# Tests for authors: `pipeline.testing`

`pip install 'app-data-pipeline[testing]'` brings it. `python -m tests.testing.reference` makes this page from the docstrings.
[Test an app](../how-to/test-an-app.md) shows how to use it.

```python
from pipeline.testing import exporter_suite, importer_suite

TestImporter = importer_suite(importer)
TestExporter = exporter_suite(exporter)
```
"""


def page() -> str:
    """Return the text of the page."""
    sections = [_section(name, getattr(pipeline.testing, name)) for name in pipeline.testing.__all__]
    return "\n".join([HEAD, *sections, _fixture_streams(), _plugin()])


def _section(name: str, thing: Any) -> str:
    lines = [f"## `{name}{_parameters(thing)}`", "", inspect.getdoc(thing) or "", ""]
    members = list(_members(thing)) if inspect.isclass(thing) else []
    return "\n".join([*lines, *(["| member | what it does |", "|---|---|", *members, ""] if members else [])])


def _parameters(thing: Any) -> str:
    given = [
        parameter.replace(annotation=_Plain(str(parameter.annotation)), default=_default(parameter.default))
        for name, parameter in inspect.signature(thing).parameters.items()
        if not name.startswith("_")
    ]
    return str(inspect.Signature(given))


def _default(default: object) -> object:
    if default is inspect.Parameter.empty or isinstance(default, str | int | float | None):
        return default
    return _Plain("…")


class _Plain:
    """What is shown as it is written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _members(thing: type) -> Iterator[str]:
    for name, member in vars(thing).items():
        if not name.startswith("_") and inspect.isfunction(member) and member.__doc__:
            names = list(_names(inspect.signature(member)))
            how = "await " if inspect.iscoroutinefunction(member) else ""
            yield f"| `{how}{name}({', '.join(names)})` | {' '.join(member.__doc__.split())} |"


def _names(signature: inspect.Signature) -> Iterator[str]:
    """Yield the names of parameters; a star stands before those that are given by name."""
    starred = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        if name != "self":
            yield name


def _fixture_streams() -> str:
    names = "\n".join(f"- {name.replace('_', ' ')}{', with `--large`' if name in LARGE else ''}" for name in FIXTURES)
    return f"""## Fixture streams

`importer_suite` makes these rows of the types of each handler, moves them, and compares. A row may be rejected
with a reason; it may not be lost or altered. What a row type has no field for is skipped.

{names}

Beside them: a delete of an unknown key, a key twice in one Event File, a delete before the row, and a second
Movement of the same rows, which must call nothing.
"""


def _plugin() -> str:
    source = inspect.getsource(pytest_plugin.pytest_addoption)
    options = [line.split('"') for line in source.splitlines() if '"--' in line]
    rows = "\n".join(f"| `{parts[1]}` | {parts[-2]} |" for parts in options)
    return f"""## The pytest plug-in

It is active as soon as the package is installed. It adds the fixtures `fake_app`, a FakeApp, and `fake_app_url`,
the URL at which it is served over HTTP, and these options:

| option | what it does |
|---|---|
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(page())
