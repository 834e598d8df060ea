"""The event queue's contract, unchanged, against SQS as three servers serve it. asyncio only, as the adapter is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.ports.event_queue import EventQueue
from tests.contracts.event_queue import CLAUSES, Clause, Terms, check
from tests.queues.sqs_queues import MAX_RECEIVES, opened_queue
from tests.servers.addresses import S3AndSqs, SqsServer

TERMS = Terms(visibility_seconds=1.0, max_receives=MAX_RECEIVES)


def keeps(clause: Clause, server: SqsServer) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        async with opened_queue(server, seconds) as queue:
            yield queue

    anyio.run(check, clause, open_queue, TERMS, backend="asyncio")


@pytest.mark.parametrize("clause", CLAUSES)
def test_ministack(clause: Clause, ministack: S3AndSqs) -> None:
    keeps(clause, ministack.sqs)


@pytest.mark.parametrize("clause", CLAUSES)
def test_localstack(clause: Clause, localstack: S3AndSqs) -> None:
    keeps(clause, localstack.sqs)


@pytest.mark.parametrize("clause", CLAUSES)
def test_moto(clause: Clause, moto: S3AndSqs) -> None:
    keeps(clause, moto.sqs)
