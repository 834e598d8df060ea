"""Running one function for many items, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from pipeline.domain.exception_groups import unwrap_exception_group

Item = TypeVar("Item")


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int) -> None:
    """Await `work` for each item, started in order, at most `at_once` at a time. An error cancels the rest."""
    pending = iter(items)

    async def take() -> None:
        for item in pending:
            await work(item)

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            for number in range(at_once):
                group.start_soon(take, name=f"files_worker_{number}")
