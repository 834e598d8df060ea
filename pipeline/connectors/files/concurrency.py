"""Running one function for many items, a few at a time, alone or in groups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import anyio

from pipeline.domain.exception_groups import unwrap_exception_group

Item = TypeVar("Item")

GROUP_ITEMS = 128
GROUP_BYTES = 1024 * 1024
"""Enough that the calls of threads for a group cost little beside the group, and few enough for several to be in memory."""


def grouped(items: Iterable[Item], size: Callable[[Item], int], *, most: int = GROUP_ITEMS) -> Iterator[Sequence[Item]]:
    """Yield the items in order, in groups of up to `most` items and `GROUP_BYTES`; a larger one is a group alone."""
    group: list[Item] = []
    room = GROUP_BYTES
    for item in items:
        room -= size(item)
        if group and (room < 0 or len(group) >= most):
            yield group
            group, room = [], GROUP_BYTES - size(item)
        group.append(item)
    if group:
        yield group


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
