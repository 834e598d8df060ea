"""Every mistake that a declaration shows is one error with the author's file and line, and what to do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.kit import Batch, Exporter, Import, Importer, Page
from pipeline.kit.places.load import load
from pipeline.kit.places.reference import Kind, PluginReference
from tests.kit.plugins import HEAD_LINES, write_plugin


@dataclass
class Row:
    id: int


@dataclass
class Settings:
    url: str


ROW = "@dataclass\nclass Row:\n    id: int\n    name: str\n\nexporter = Exporter('app')\nimporter = Importer('app')\n"
MISTAKES = [
    ("exporter = Exporter('app', api=2)  # here", "version 2 of the kit.*Install the release"),
    ("exporter = Exporter('')  # here", "the name of the plug-in is ''"),
    (
        "exporter.rows('a', row=dict, key='id', columns={'id': int, 'x': list[Binary]})  # here",
        "'x' has contents inside of list, as JSON.*a field of the type Binary for each",
    ),
    ("Exporter(7)  # here", "the name of the plug-in is 7. Write a text"),
    ("Exporter('a', contract=7)  # here", "the name of the contract is 7"),
    ("importer.applies(7, row=dict)  # here", "the name of a stream is 7"),
    (r"exporter.rows('\ud800', row=Row, key='id')  # here", "the name of a stream is"),
    ("exporter.rows('a', row=Row, key='id', group=7)  # here", "the name of a group is 7"),
    ("exporter.rows('a', row=Row, key='id', scopes=(7,))  # here", "the name of a scope is 7"),
    ("exporter.rows('a', row=dict, key='id', columns={'id': int, 7: int})  # here", "the name of a field is 7"),
    ("exporter.rows('a', row=Row, key=None)  # here", "key names None, .*The row has: id, name"),
    ("exporter.rows('a', row=Row, key=('id', 'id'))  # here", "key names 'id' twice"),
    ("exporter.rows('a', row=Row, key={'id'})  # here", "key names {'id'}, .*The row has: id, name"),
    ("@dataclass\nclass Empty: ...\nexporter.rows('a', row=Empty, key='id')  # here", "Empty has no fields"),
    *[
        (f"exporter.changes('a', row=Row, key='id', lag={lag})  # here", r"lag=.* is not possible.*from 0 to ten years")
        for lag in ("-5", "'5'", "float('nan')", "float('inf')", "1e300", "True")
    ],
    (
        "from contextlib import asynccontextmanager\n@asynccontextmanager  # here\nasync def connect():\n    yield 1\n"
        "exporter.connect(connect)",
        "has another decorator, such as @asynccontextmanager, which it must not have",
    ),
    (
        "@exporter.rows('a', row=Row, key='id')  # here\nasync def a(client):\n    return 1",
        "does not yield.*It must be `async def`",
    ),
    ("@exporter.rows('a', row=Row, key='id')  # here\ndef a(client):\n    yield 1", "does not yield"),
    ("@exporter.rows('a', row=Row, key='id')  # here\nasync def a():\n    yield 1", r"takes nothing.*\(client\)"),
    (
        "@exporter.pages('a', row=Row, key='id')  # here\nasync def a(client):\n    return 1",
        r"takes client.*\(client, after\)",
    ),
    ("@exporter.pages('a', row=Row, key='id')  # here\nasync def a(client, after):\n    yield 1", "yields"),
    (
        "@exporter.pages('a', row=Row, key='id', order='sorted')  # here\nasync def a(c, d): ...",
        "order='sorted'.*stable",
    ),
    ("@exporter.rows('a', row=Row, key='key')  # here\nasync def a(c):\n    yield 1", "'key'.*The row has: id, name"),
    ("@exporter.rows('a', row=Row, key=())  # here\nasync def a(c):\n    yield 1", "key is empty"),
    ("@exporter.rows('a', row=int, key='id')  # here\nasync def a(c):\n    yield 1", "int is no row type.*dataclass"),
    ("@exporter.rows('a', row=dict, key='id')  # here\nasync def a(c):\n    yield 1", "no columns.*columns="),
    (
        "@exporter.rows('a', row=dict, key='id', columns={'id': int, 'x': object})  # here\nasync def a(c):\n    yield 1",
        "'x' has the type object.*docs/reference/kit.md",
    ),
    (
        "@exporter.rows('a', row=dict, key='id', columns={'id': int | None})  # here\nasync def a(c):\n    yield 1",
        "'id' may be None",
    ),
    (
        "@exporter.rows('a', row=dict, key='id', columns={'id': list[int]})  # here\nasync def a(c):\n    yield 1",
        "'id' is of the type json",
    ),
    ("Importer('a', accepts=7)  # here", "accepts=7 names no contracts"),
    ("Exporter('a', api='1')  # here", "written for version '1' of the kit, and this release knows version 1"),
    (
        "@importer.applies('a', row=Row, batch='5')  # here\nasync def a(t, b, c): ...",
        "batch='5' is not possible.*from 1 to",
    ),
    ("@exporter.changes('a', row=Row, key='id')  # here\nasync def a(c): ...", r"\(client, since\)"),
    (
        "@exporter.changes('a', row=Row, key='id', reconcile='7d')  # here\nasync def a(c, since): ...",
        "has no snapshot.*Declare its `rows` or `pages`, or leave",
    ),
    (
        "@exporter.changes('a', row=Row, key='id', reconcile='weekly')  # here\nasync def a(c, since): ...",
        "reconcile='weekly' is no duration.*such as \"7d\"",
    ),
    (
        "@exporter.changes('a', row=Row, key='name')\nasync def b(c, since): ...\n"
        "@exporter.rows('a', row=Row, key='id')  # here\nasync def a(c):\n    yield 1",
        "snapshot of 'a' has another row or key than its changes.*the same row and key",
    ),
    (
        "@exporter.changes('a', row=Row, key='id')\nasync def a(c, since): ...\n"
        "@exporter.changes('a', row=Row, key='id')  # here\nasync def b(c, since): ...",
        "two change feeds",
    ),
    (
        "@exporter.rows('a', row=Row, key='id')\nasync def a(c):\n    yield 1\n"
        "@exporter.changes('a', row=Row, key='name')  # here\nasync def b(c, since): ...",
        "another row or key than its snapshot",
    ),
    (
        "@exporter.rows('a', row=dict, key='id', columns={'id': Binary})  # here\nasync def a(c):\n    yield 1",
        "'id' is of the type binary. Name another key",
    ),
    (
        "@exporter.rows('@schema', row=Row, key='id')  # here\nasync def a(c):\n    yield 1",
        "'@schema' begins with @.*Rename it",
    ),
    ("@exporter.rows('', row=Row, key='id')  # here\nasync def a(c):\n    yield 1", "the name of a stream is ''"),
    (
        "@exporter.rows('a', row=Row, key='id')  # here\nasync def a(c, *, more):\n    yield 1",
        r"takes c, more.*\(client\)",
    ),
    (
        "@exporter.rows('a', row=Row, key='id')\nasync def a(c):\n    yield 1\n"
        "@exporter.estimate('a')  # here\ndef b(c): ...",
        "estimate of 'a' is not async",
    ),
    (
        "@exporter.rows('a', row=Row, key='id')\nasync def a(c):\n    yield 1\n"
        "@exporter.fetch('a')  # here\nasync def b(c): ...",
        r"single rows of 'a' takes c.*\(client, keys\)",
    ),
    ("@exporter.check('a', title='A')  # here\nasync def a(c): ...", "check 'a' does not yield"),
    ("@exporter.fetch('a')  # here\nasync def a(c, keys): ...", "'a' is not declared yet"),
    (
        "@exporter.rows('a', row=Row, key='id')\nasync def a(c):\n    yield 1\n"
        "@exporter.rows('a', row=Row, key='id')  # here\nasync def b(c):\n    yield 1",
        "declared twice",
    ),
    ("@exporter.connect  # here\nasync def connect(a, b):\n    yield 1", "takes a, b"),
    ("@exporter.connect  # here\nasync def connect(*, a):\n    yield 1", "takes a"),
    ("@importer.creates('a', row=Row)  # here\nasync def a(target, row): ...", r"\(target, row, ctx\)"),
    ("@importer.creates('a', row=Row, delivery='keyed')  # here\nasync def a(t, r, c): ...", "'keyed' is not possible"),
    ("@importer.applies('a', row=Row, batch=0)  # here\nasync def a(t, b, c): ...", "batch=0.*from 1 to"),
    ("@importer.applies('*', row=Row)  # here\nasync def a(t, b, c): ...", "row=dict"),
    ("@importer.stages('a', row=Row)  # here\nasync def a(target, file): ...", r"\(target, file, ctx\)"),
    ("@importer.transaction  # here\nasync def a(target):\n    return 1", "a transaction does not yield"),
    (
        "@importer.transaction\nasync def a(target):\n    yield 1\n"
        "@importer.transaction  # here\nasync def b(target):\n    yield 1",
        "two functions for a transaction",
    ),
    (
        "@importer.applies('a', row=Row)\nasync def a(t, b, c): ...\n"
        "@importer.applies('a', row=Row)  # here\nasync def b(t, b, c): ...",
        "two handlers",
    ),
    ("@importer.dump  # here\nasync def dump(): \n    yield 1", r"\(target\)"),
    ("@importer.dump  # here\nasync def dump(target): ...", "the dump does not yield"),
    ("@importer.scratch  # here\nasync def empty(target): \n    yield 1", r"takes target.*arguments \(\)"),
    ("@importer.scratch  # here\nasync def empty(): ...", "the scratch destination does not yield"),
    (
        "@importer.dump\nasync def a(t):\n    yield 1\n@importer.dump  # here\nasync def b(t):\n    yield 1",
        "two functions for the dump",
    ),
    (
        "@importer.scratch\nasync def a():\n    yield 1\n@importer.scratch  # here\nasync def b():\n    yield 1",
        "two functions for a scratch destination",
    ),
]


CALLABLES = [
    (
        "class A:\n    def __call__(self, t, b, c): ...  # here\nimporter.applies('a', row=Row)(A())",
        "the function for .*is not async",
    ),
    (
        "class A:\n    async def __call__(self, t): ...  # here\nimporter.applies('a', row=Row)(A())",
        "the function for .*takes t",
    ),
]
"""Mistakes in an object that is called like a function: the line of its `__call__` is named."""


@pytest.mark.parametrize(("code", "message"), [*MISTAKES, *CALLABLES])
def test_a_mistake_is_named_with_its_line_and_what_to_do(code: str, message: str, tmp_path: Path) -> None:
    path = write_plugin(tmp_path / "app.py", ROW + code)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text)
    with pytest.raises(ConfigurationError, match=re.compile(message, re.DOTALL)) as caught:
        load(PluginReference(Kind.FILE, str(path), "exporter"), Exporter)
    assert str(caught.value).startswith(f"{path}, line {line}: ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "exporter = Exporter('app')\nno_such_name\n",
            f"NameError: .*no_such_name.* \\(.*app.py, line {HEAD_LINES + 2}",
        ),
        ("exporter = (\n", "SyntaxError: .*app.py, line"),
        ("import no_such_module_anywhere\n", f"No module named.*app.py, line {HEAD_LINES + 1}"),
        ("raise SystemExit(3)\n", f"SystemExit: 3 \\(.*app.py, line {HEAD_LINES + 1}"),
        ("other = Exporter('app')\n", "has no 'exporter'. It has these Exporters and Importers: other"),
        ("exporter = 7\n", "is not an Exporter, but of the type int"),
        ("exporter = Importer('app')\n", "is an Importer .*line .*cannot be the source. Use it as the destination"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(code: str, message: str, tmp_path: Path) -> None:
    path = write_plugin(tmp_path / "app.py", code)
    with pytest.raises(ConfigurationError, match=message):
        load(PluginReference(Kind.FILE, str(path), "exporter"), Exporter)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no file .*app\.py"):
        load(PluginReference(Kind.FILE, str(tmp_path / "app.py"), "exporter"), Exporter)


def test_objects_and_partials_that_are_called_like_functions_are_accepted() -> None:
    class Called:
        async def __call__(self, client: None) -> AsyncIterator[Row]:
            yield Row(1)

        async def page(self, client: None, after: str | None) -> Page[Row]:
            return Page([], next=None)

    class Applies:
        async def __call__(self, target: None, batch: Batch[Row], ctx: Import) -> None: ...

    async def connect(url: str, settings: Settings) -> AsyncIterator[None]:
        yield

    exporter, importer = Exporter("app"), Importer("app")
    exporter.connect(partial(connect, "url"))
    exporter.rows("a", row=Row, key="id")(Called())
    exporter.pages("b", row=Row, key="id")(Called().page)
    importer.applies("a", row=Row)(Applies())
    assert list(exporter.streams) == ["a", "b"]
