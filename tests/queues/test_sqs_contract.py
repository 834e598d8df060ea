"""The event queue's contract, unchanged, on three SQS servers. asyncio only, as the adapter is.

SQS counts whole seconds, so clauses wait long. The clauses of one server run concurrently, each on its own queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.ports.event_queue import EventQueue
from tests.contracts.event_queue import CLAUSES, Clause, Terms, check
from tests.queues.sqs_queues import MAX_RECEIVES, open_new_queue
from tests.servers.addresses import SqsServer

pytestmark = pytest.mark.server

TERMS = Terms(visibility_seconds=1.0, max_receives=MAX_RECEIVES, patience_seconds=10.0)
CONCURRENT = 4

Outcomes = dict[Clause, Exception | None]


async def outcomes_on(server: SqsServer) -> Outcomes:
    """Return the outcome of each clause."""
    outcomes: Outcomes = {}
    limiter = anyio.CapacityLimiter(CONCURRENT)

    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        async with open_new_queue(server, seconds) as queue:
            yield queue

    async def come_to(clause: Clause) -> None:
        async with limiter:
            try:
                await check(clause, open_queue, TERMS)
            except Exception as error:  # noqa: BLE001  the clause's own test raises it
                outcomes[clause] = error
            else:
                outcomes[clause] = None

    async with anyio.create_task_group() as group:
        for clause in CLAUSES:
            group.start_soon(come_to, clause)
    return outcomes


@pytest.fixture(scope="module", params=["ministack", "localstack", "moto"])
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    return anyio.run(outcomes_on, request.getfixturevalue(request.param).sqs, backend="asyncio")


@pytest.mark.parametrize("clause", CLAUSES)
def test_sqs_event_queue(clause: Clause, outcomes: Outcomes) -> None:
    if error := outcomes[clause]:
        raise error
