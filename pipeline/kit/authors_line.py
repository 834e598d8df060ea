"""The place in an author's file that an error is about."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.domain.errors import ConfigurationError

PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_BETWEEN = (PACKAGE, contextlib.__file__)
"""Files of the functions that stand between an author's function and `calling_line`."""


def line_of(function: Callable[..., Any]) -> str:
    """Return the file and the line where a function begins."""
    code = getattr(inspect.unwrap(called(function)), "__code__", None)
    return calling_line() if code is None else f"{code.co_filename}, line {code.co_firstlineno}"


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that is called in the end where an author gives a partial, or an object that has `__call__`."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function) or not callable(function):
        return function  # an author may give anything
    return type(function).__call__


def calling_line() -> str:
    """Return the file and the line of the caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def is_called_by_author() -> bool:
    """Whether the function that asks was called by an author's file, and not by this package for what a person has given."""
    frame = sys._getframe(2)
    return not frame.f_code.co_filename.startswith(PACKAGE)


def raising_line(error: BaseException, fallback: str) -> str:
    """Return the author's innermost line that an exception passed; `fallback` when it passed none."""
    traceback: TracebackType | None = error.__traceback__
    found = fallback
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if not name.startswith((PACKAGE, sys.prefix, sys.base_prefix, "<")):
            found = f"{name}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


class MisuseError(ConfigurationError):
    """A declaration is wrong. `fault` is what is wrong with it and what to do, without the place in a file."""

    def __init__(self, where: str, fault: str) -> None:
        super().__init__(f"{where}: {fault}")
        self.fault = fault


def misuse(where: str, fault: str, remedy: str) -> MisuseError:
    """Return the error about a declaration: where it is, what is wrong with it, what to do."""
    return MisuseError(where, f"{fault}. {remedy}.")
