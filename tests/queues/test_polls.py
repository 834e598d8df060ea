"""Long polls of SQS that are open when a worker stops."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from pipeline.ports.event_queue import Message
from pipeline.queues.sqs import polls
from pipeline.queues.sqs.polls import LongPolls


async def never(_most: int, _seconds: int) -> Sequence[Message]:
    await anyio.sleep_forever()
    raise AssertionError


async def give_back(_messages: Sequence[Message]) -> None: ...


async def test_a_queue_that_is_closed_after_another_one_does_not_wait_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its request has had the time of the other one's end: an hour in this test."""
    monkeypatch.setattr(polls, "CLOSE_SECONDS", 3600.0)
    monkeypatch.setattr(polls, "LEAST_CLOSE_SECONDS", 0.0)
    open_polls, an_hour_ago = LongPolls(never, give_back), anyio.current_time() - 3600
    with monkeypatch.context() as earlier:
        earlier.setattr(anyio, "current_time", lambda: an_hour_ago)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await open_polls.wait(1, 20)
    with anyio.fail_after(60):
        await open_polls.close()
