"""Checks of what an author declares: names, and functions, their kind and how many arguments they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from pipeline.kit.authors_line import called, line_of, misuse

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that is not empty, and has no lone surrogates, which JSON cannot hold."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def check_name(value: object, what: str, line: str) -> None:
    """ConfigurationError unless a value is a name: text that is not empty, and valid Unicode. `what` is named by it."""
    if not is_text(value):
        raise misuse(line, f"the name of {what} is {value!r}", "Write a text")


def check_coroutine(function: Callable[..., Any], what: str, arguments: Sequence[str]) -> None:
    """ConfigurationError unless `function` is `async def` with these arguments, and returns one value."""
    if not inspect.iscoroutinefunction(called(function)):
        how = "yields" if inspect.isasyncgenfunction(called(function)) else "is not async"
        raise misuse(line_of(function), f"the function for {what} {how}", _form(arguments, "return its result"))
    _check_arguments(function, what, arguments, "return its result", optional=0)


def check_generator(function: Callable[..., Any], what: str, arguments: Sequence[str], *, optional: int = 0) -> None:
    """ConfigurationError unless `function` is `async def` with these arguments, and yields.

    The last `optional` arguments may be left out.
    """
    if not inspect.isasyncgenfunction(called(function)):
        how = "does not yield"
        if inspect.isasyncgenfunction(inspect.unwrap(function)):
            how = "has another decorator, such as @asynccontextmanager, which it must not have"
        raise misuse(line_of(function), f"the function for {what} {how}", _form(arguments, "yield"))
    _check_arguments(function, what, arguments, "yield", optional=optional)


def _check_arguments(
    function: Callable[..., Any], what: str, arguments: Sequence[str], does: str, *, optional: int
) -> None:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    needed = [parameter for parameter in positional if parameter.default is inspect.Parameter.empty]
    required = [
        parameter.name
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
    ]
    enough = len(needed) <= len(arguments) and len(positional) >= len(arguments) - optional
    if not enough or required:
        takes = ", ".join([*(parameter.name for parameter in positional), *required]) or "nothing"
        raise misuse(line_of(function), f"the function for {what} takes {takes}", _form(arguments, does))


def _form(arguments: Sequence[str], does: str) -> str:
    return f"It must be `async def` with the arguments ({', '.join(arguments)}), and {does}"


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether `function` takes at least `count` positional arguments."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    return sum(parameter.kind in _POSITIONAL for parameter in parameters) >= count
