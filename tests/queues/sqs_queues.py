"""SQS queues for tests: each has a random name and its own dead-letter queue, and is deleted afterwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.queues.sqs.event_queue import SqsEventQueue, open_sqs_queue
from tests.servers.addresses import SqsServer

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient

MAX_RECEIVES = 3


@dataclass(frozen=True, slots=True)
class NewQueue:
    """An existing queue, and a plain client that inspects it without the adapter."""

    name: str
    url: str
    dead_url: str
    client: SQSClient
    aws: AwsOptions


def aws_options(server: SqsServer, **changes: object) -> AwsOptions:
    """Return the options for the server, with few and short waits."""
    options: dict[str, object] = {"tries": 4, "first_wait_seconds": 0.02, "longest_wait_seconds": 0.2} | changes
    return AwsOptions(
        endpoint_url=server.endpoint_url,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        **options,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def new_queue(server: SqsServer, *, max_receives: int = MAX_RECEIVES) -> AsyncIterator[NewQueue]:
    """Create a queue with a dead-letter queue."""
    options = aws_options(server)
    name = f"pipeline-{token_hex(6)}"
    async with open_client("sqs", options) as client:
        dead_url = (await client.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
        dead = await client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
        redrive = {"deadLetterTargetArn": dead["Attributes"]["QueueArn"], "maxReceiveCount": str(max_receives)}
        created = await client.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(redrive)})
        try:
            yield NewQueue(name, created["QueueUrl"], dead_url, client, options)
        finally:
            for url in (created["QueueUrl"], dead_url):
                await client.delete_queue(QueueUrl=url)


@asynccontextmanager
async def open_new_queue(server: SqsServer, visibility_seconds: float = 300.0) -> AsyncIterator[SqsEventQueue]:
    """Create a queue, and open it."""
    async with (
        new_queue(server) as new,
        open_sqs_queue(new.name, visibility_seconds=visibility_seconds, aws=new.aws) as queue,
    ):
        yield queue
