"""What an exception says without quoting data: its type, and the lines of our code and the author's that it passed."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import TracebackType

from pipeline.domain.errors import PipelineError

PACKAGE = Path(__file__).parents[2]
FRAMES_KEPT = 20


def exception_type(error: BaseException) -> str:
    """Return the name of the type of the exception behind an error of the pipeline; of the error itself, if there is none."""
    return type(_origin(error)).__name__


def safe_trace(error: BaseException) -> tuple[str, ...]:
    """Return where the exception behind an error came from, the innermost line last: file, line and function.

    Lines of libraries are left out; no values, no messages and no text of a line are in it.
    """
    found: list[str] = []
    traceback: TracebackType | None = _origin(error).__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if (name := _shown(code.co_filename)) is not None:
            found.append(f"{name}, line {traceback.tb_lineno}, in {code.co_name}")
        traceback = traceback.tb_next
    return tuple(found[-FRAMES_KEPT:])


def _origin(error: BaseException) -> BaseException:
    """Return the exception that an error of the pipeline stands for. Causes may go round in a circle."""
    seen = [error]
    while isinstance(error, PipelineError) and error.__cause__ is not None:
        if isinstance(error.__cause__, BaseExceptionGroup) or error.__cause__ in seen:
            break
        error = error.__cause__
        seen.append(error)
    return error


def _shown(filename: str) -> str | None:
    """Return a file of the pipeline by its path in the package, one of an author by its name; None for others."""
    path = Path(filename)
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE.parent).as_posix()
    if filename.startswith(("<", *_libraries())):
        return None
    return path.name


@cache
def _libraries() -> tuple[str, ...]:
    import sysconfig  # most Movements fail nowhere

    return tuple({*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix})
