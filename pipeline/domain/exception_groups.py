"""Out of a task group's bundle of errors, the one that a caller can act on."""

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
    """What is not ours to explain comes first; what passes by itself comes last."""
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


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise the most urgent error of an exception group in place of the group; the others stay in its context."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise max(_leaves(group), key=_urgency) from group
