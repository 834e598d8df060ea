"""Does the same kind of work for many things, several at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from pipeline.domain.exception_groups import unwrap_exception_group

Thing = TypeVar("Thing")
Result = TypeVar("Result")


async def concurrently(
    work: Callable[[Thing], Awaitable[Result]], things: Iterable[Thing], at_once: int
) -> list[Result]:
    """Return the results of `work` for these things, in their order. After an error the rest is cancelled."""
    listed = list(things)
    results: dict[int, Result] = {}
    limiter = anyio.CapacityLimiter(at_once)

    async def one(place: int) -> None:
        async with limiter:
            results[place] = await work(listed[place])

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            for place in range(len(listed)):
                group.start_soon(one, place)
    return [results[place] for place in range(len(listed))]
