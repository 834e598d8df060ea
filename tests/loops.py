"""Which event loop an async test runs on. Without a decorator, pytest-asyncio runs it on asyncio."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import pytest
import trio.testing

P = ParamSpec("P")
T = TypeVar("T")

OnLoop = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs an async function to its end on one event loop."""


async def _run_inline(work: Callable[..., T], *arguments: object) -> T:
    """Take the place of a worker thread: a run must not depend on the real time that a thread takes."""
    await anyio.lowlevel.checkpoint()
    return work(*arguments)


def run_on_trio(main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` on trio, without threads, with a clock that jumps ahead whenever all tasks wait."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyio.to_thread.run_sync", _run_inline)
        return anyio.run(main, backend="trio", backend_options={"clock": clock})


def on_trio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test with `run_on_trio`."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_on_trio(partial(test, *args, **kwargs))

    return run


def on_both(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test of a contract once on each event loop: those of the fixture `on_loop`."""

    @wraps(test)
    def run(*args: object, on_loop: OnLoop, **kwargs: object) -> None:
        on_loop(partial(test, *args, **kwargs))

    wanted = inspect.signature(test)
    fixture = inspect.Parameter("on_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = wanted.replace(parameters=[*wanted.parameters.values(), fixture])  # type: ignore[attr-defined]
    return run


def on_backend(backend: str) -> OnLoop:
    """Return what runs async functions on `asyncio` or `trio`."""
    return partial(anyio.run, backend=backend)


class OnBothLoops:
    """Gives a contract the fixture that `on_both` wants."""

    @pytest.fixture(params=["asyncio", "trio"])
    def on_loop(self, request: pytest.FixtureRequest) -> OnLoop:
        return on_backend(request.param)


class OnTrio:
    """Runs a contract on trio alone. Name it before the contract in the list of bases."""

    @pytest.fixture
    def on_loop(self) -> OnLoop:
        return on_backend("trio")
