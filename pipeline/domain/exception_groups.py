"""Reduces the exception group of a task group to the one error that a caller can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.domain.errors import ConfigurationError, DamagedError, PipelineError, RefusedError, TransientError


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _urgency(error: BaseException) -> int:
    """Rank errors: unexpected ones are most urgent, transient ones least."""
    match error:
        case ConfigurationError():
            return 3
        case DamagedError() | RefusedError():
            return 2
        case TransientError():
            return 0
        case PipelineError():
            return 1
        case _:
            return 4


def most_urgent(error: BaseException) -> BaseException:
    """Return the most urgent error of an exception group, with the group as its cause if it has none; else the error."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    urgent = max(_leaves(error), key=_urgency)
    urgent.__cause__ = urgent.__cause__ or error
    return urgent


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise the most urgent error of an exception group in place of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        urgent = most_urgent(group)
        raise urgent from urgent.__cause__
