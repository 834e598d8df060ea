"""The page docs/reference/kit-names.md, made from the signatures and docstrings of `pipeline.kit`.

`python -m tests.kit.reference` writes it; a test holds it equal.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

import pipeline.kit

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "kit-names.md"
HEAD = """\
# The names of `pipeline.kit`

Every public name, with all its parameters and members. `python -m tests.kit.reference` makes this page from the docstrings.
[Exporters and Importers](kit.md) explains how they belong together.
"""
INNER = {"add", "handler_of"}
"""Methods that only the kit itself calls."""
MADE_BY_THE_KIT = {"Creates", "Ids", "Import", "Stages", "Transaction"}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *(_section(name, getattr(pipeline.kit, name)) for name in pipeline.kit.__all__)])


def _section(name: str, thing: Any) -> str:
    if inspect.isfunction(thing):
        return f"## `{name}{_parameters(inspect.signature(thing))}`\n\n{_text(inspect.getdoc(thing))}\n"
    if not inspect.isclass(thing):
        return f"## `{name}`\n\n{_doc_below(name)}\n"
    lines = [f"## `{name}{_call(thing)}`", "", _text(inspect.getdoc(thing))]
    if "__init__" in vars(thing) and not dataclasses.is_dataclass(thing) and thing.__init__.__doc__:
        lines += ["", _text(thing.__init__.__doc__)]
    members = [f"| `{_escaped(member)}` | {_escaped(meaning)} |" for member, meaning in _members(thing)]
    return "\n".join(
        [*lines, *(["", "| member | what it is, or does |", "|---|---|", *members] if members else []), ""]
    )


def _call(thing: type) -> str:
    """Return the parameters of a class that an author makes."""
    if issubclass(thing, msgspec.Struct):
        return f"({', '.join(f'{name}: {hint}' for name, hint in vars(thing)['__annotations__'].items())})"
    if issubclass(thing, Enum) or thing.__name__ in MADE_BY_THE_KIT or "__init__" not in vars(thing):
        return ""
    return _parameters(signature(vars(thing)["__init__"]))


def _members(thing: type) -> Iterator[tuple[str, str]]:
    if issubclass(thing, Enum):
        yield from ((member.name, f"`{member.value!r}`") for member in thing)
        return
    for base in reversed(thing.__mro__[:-1]):
        for name, member in vars(base).items():
            if name.startswith("_") or name in INNER or not base.__module__.startswith("pipeline.kit"):
                continue
            if isinstance(member, property):
                yield name, _text(member.__doc__)
            elif inspect.isfunction(member):
                function = _function(member)
                yield (
                    name + ("" if "function" in signature(member).parameters else _parameters(signature(member))),
                    (_text(member.__doc__) + (f" `{function}`" if function else "")),
                )


def signature(method: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a method without `self`."""
    found = inspect.signature(method)
    return found.replace(parameters=list(found.parameters.values())[1:])


def _parameters(of: inspect.Signature) -> str:
    """Return the parameters of a function, with their types and defaults."""
    given = [
        parameter.replace(annotation=_Plain(str(parameter.annotation).replace("KeyNames", "str | tuple[str, ...]")))
        for parameter in of.parameters.values()
    ]
    text = str(inspect.Signature(given))
    return re.sub(r"<(\w+)\.(\w+): '\w+'>", r"\1.\2", text).replace("<factory>", "{}")


class _Plain:
    """An annotation, shown as it is written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _function(method: Callable[..., Any]) -> str:
    """Return the type of the function that a method declares, itself or by the declaration that it returns."""
    module = importlib.import_module(method.__module__)
    declaration = getattr(module, str(method.__annotations__.get("return")).partition("[")[0], None)
    is_ours = inspect.isclass(declaration) and declaration.__module__.startswith("pipeline.")
    call = vars(declaration).get("__call__", method) if is_ours else method
    wanted = str(call.__annotations__.get("function", ""))
    return wanted if wanted.startswith("Callable") else ""


def _doc_below(name: str) -> str:
    """Return the text below the definition of a name that is no class."""
    source = inspect.getsource(importlib.import_module("pipeline.kit.values"))
    found = re.search(rf'^{name} = .*\n"""([^"]*)"""', source, re.MULTILINE)
    assert found, f"{name} has no docstring below its definition"
    return _text(found[1])


def _text(docstring: str | None) -> str:
    """Return a docstring in one line."""
    assert docstring
    return " ".join(docstring.split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
