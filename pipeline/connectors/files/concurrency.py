"""Doing one thing for many items, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

Item = TypeVar("Item")


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int) -> None:
    """Await `work` for every item, begun in order, at most `at_once` of them at a time.

    The first error cancels the rest and leaves as itself, not inside a group.
    """
    pending = iter(items)

    async def take() -> None:
        for item in pending:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for number in range(at_once):
                group.start_soon(take, name=f"files_worker_{number}")
    except ExceptionGroup as errors:
        raise _first(errors) from None


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
