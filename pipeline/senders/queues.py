"""Notifications into an SQS queue or an SNS topic: the same JSON as a webhook has in its body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from pipeline.aws.errors import Request, translated
from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.domain.errors import PipelineError
from pipeline.domain.notifications.delivery import Answer, Delivered, NotDelivered
from pipeline.domain.notifications.endpoint import PROFILES, Endpoint
from pipeline.ports.sender import Notification

SQS = "sqs://"
SNS = "arn:aws:sns:"


class QueueSender:
    """Sends to `sqs://QUEUE` and to the ARNs of SNS topics. Needs an asyncio event loop."""

    def __init__(self, options: AwsOptions, opened: AsyncExitStack) -> None:
        self._options = options
        self._opened = opened
        self._clients: dict[str, Any] = {}
        self._lock = anyio.Lock()

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        """Send the notification as one message."""
        service, place = (
            ("sqs", endpoint.url.removeprefix(SQS)) if endpoint.url.startswith(SQS) else ("sns", endpoint.url)
        )
        action = "sqs:SendMessage" if service == "sqs" else "sns:Publish"
        request = Request("send a notification", place, f"{action} on {place}")
        seconds = PROFILES[endpoint.profile].total_seconds
        try:
            with anyio.fail_after(seconds), translated(request):
                client = await self._client(service, endpoint)
                await (_send_to_queue if service == "sqs" else _publish)(client, endpoint, notification)
        except TimeoutError:
            return NotDelivered(f"it did not answer within {seconds:g} seconds")
        except PipelineError as error:
            return NotDelivered(str(error))
        return Delivered()

    async def _client(self, service: str, endpoint: Endpoint) -> Any:
        """Return a client of the service: of SNS, in the region of the topic."""
        region = endpoint.url.split(":")[3] if service == "sns" else self._options.region
        async with self._lock:
            name = f"{service} {region}"
            if name not in self._clients:
                options = replace(self._options, region=region)
                self._clients[name] = await self._opened.enter_async_context(open_client(service, options))
            return self._clients[name]


@asynccontextmanager
async def open_queue_sender(options: AwsOptions) -> AsyncIterator[QueueSender]:
    """Open a sender; its clients are opened with the first notification."""
    async with AsyncExitStack() as opened:
        yield QueueSender(options, opened)


async def _send_to_queue(client: Any, endpoint: Endpoint, notification: Notification) -> None:
    name = endpoint.url.removeprefix(SQS)
    url = (await client.get_queue_url(QueueName=name))["QueueUrl"]
    fifo = {"MessageGroupId": notification.flow or "bucket", "MessageDeduplicationId": notification.id}
    body, attributes = notification.body.decode(), _attributes(notification)
    await client.send_message(
        QueueUrl=url, MessageBody=body, MessageAttributes=attributes, **(fifo if name.endswith(".fifo") else {})
    )


async def _publish(client: Any, endpoint: Endpoint, notification: Notification) -> None:
    body, attributes = notification.body.decode(), _attributes(notification)
    fifo = {"MessageGroupId": notification.flow or "bucket", "MessageDeduplicationId": notification.id}
    await client.publish(
        TopicArn=endpoint.url,
        Message=body,
        MessageAttributes=attributes,
        **(fifo if endpoint.url.endswith(".fifo") else {}),
    )


def _attributes(notification: Notification) -> dict[str, dict[str, str]]:
    """Return what a subscriber can filter by."""
    values = {"type": notification.type, "id": notification.id} | (
        {"flow": notification.flow} if notification.flow else {}
    )
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}
