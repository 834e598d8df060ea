"""What happens at every `await` of an author's: the process may die or be stopped there, and an answer may be lost.

Code that no simulated process runs, such as `dump`, is left alone.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from pipeline.kit.authors_line import PACKAGE
from pipeline.testing.simulated.process import Process, current

T = TypeVar("T")

_LIBRARIES = (PACKAGE, str(Path(anyio.__file__).parent), str(Path(asyncio.__file__).parent))
"""Where no answer comes from that could be lost: this package, anyio and asyncio."""


def lost(name: str) -> Exception:
    """Return the error of a request to an app that has got no answer."""
    return ConnectionError(f"no answer came ({name})")


def _may_act() -> Process | None:
    """Return the process that runs this code. None when there is none, or when it is dead and rolls back."""
    process = current.get(None)
    return None if process is None or (process.dead and process.rolls_back) else process


def _kind(value: object) -> str:
    """Return `await` for what asks an app, `pause` for what does not."""
    code: CodeType | None = getattr(value, "cr_code", None)
    return "pause" if code is None or code.co_filename.startswith(_LIBRARIES) else "await"


async def awaited(value: Awaitable[T], where: str) -> T:
    """Await a value as the process that runs may."""
    process = _may_act()
    if process is None:
        return await value

    async def work() -> T:
        return await value

    try:
        return await process.call(f"app.{_kind(value)} {where}", work, lost=lost)
    finally:
        if inspect.iscoroutine(value):
            value.close()  # the process may have died before it began


class _Each(AsyncIterator[T]):
    """Gives what an iterator gives, each as an awaited value."""

    def __init__(self, values: AsyncIterable[T], where: str) -> None:
        self._values, self._where = aiter(values), where

    async def __anext__(self) -> T:
        process = _may_act()
        if process is None:
            return await anext(self._values)
        return await process.call(f"app.pause {self._where}", lambda: anext(self._values), lost=lost)

    async def aclose(self) -> None:
        """Close the iterator, if it can be closed."""
        close = getattr(self._values, "aclose", None)
        if close is not None:
            await close()


class _Within(AbstractAsyncContextManager[T]):
    """Enters and leaves a context. When it has been left without an error, the process may die, and the answer be lost."""

    def __init__(self, context: AbstractAsyncContextManager[T], where: str) -> None:
        self._context, self._where = context, where

    async def __aenter__(self) -> T:
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = await self._context.__aexit__(kind, error, trace)
        process = _may_act()
        if kind is None and process is not None:
            what = "pause" if type(self._context).__module__.startswith(("anyio", "asyncio")) else "leave"
            await process.call(f"app.{what} the end of {self._where}", anyio.lowlevel.checkpoint, lost=lost)
        return swallowed


HOOKS: Mapping[str, Callable[..., Any]] = {
    "__pipeline_await__": awaited,
    "__pipeline_each__": _Each,
    "__pipeline_within__": _Within,
}
"""The hooks by the names that instrumented code calls them by."""
