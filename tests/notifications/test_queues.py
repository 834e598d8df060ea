"""Notifications into real queues and topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import orjson

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.codec.documents.notification import CLOUDEVENTS_TYPE, cloudevent
from pipeline.domain.notifications.delivery import Delivered, NotDelivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.ports.sender import Notification
from pipeline.senders.queues import open_queue_sender
from tests.notifications.test_webhooks import EVENT, NOW
from tests.servers.addresses import S3AndSqs

SENT = Notification(
    EVENT.id, "app-data-pipeline.group.exported", "crm", CLOUDEVENTS_TYPE, cloudevent(EVENT, include_reasons=False)
)


def options(server: S3AndSqs) -> AwsOptions:
    """How to reach the server."""
    sqs = server.sqs
    return AwsOptions(
        endpoint_url=sqs.endpoint_url,
        region=sqs.region,
        access_key_id=sqs.access_key_id,
        secret_access_key=sqs.secret_access_key,
    )


@asynccontextmanager
async def client(server: S3AndSqs, service: str) -> AsyncIterator[Any]:
    async with open_client(service, options(server)) as opened:
        yield opened


async def received(sqs: Any, url: str) -> dict[str, Any]:
    """The one message of a queue."""
    found = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"])
    (message,) = found["Messages"]
    return dict(message)


async def test_an_event_arrives_in_a_queue_with_what_subscribers_filter_by(ministack: S3AndSqs) -> None:
    name = f"events-{token_hex(4)}"
    async with client(ministack, "sqs") as sqs, open_queue_sender(options(ministack)) as sender:
        url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        assert await sender.send(Endpoint("ops", f"sqs://{name}", NOW), SENT) == Delivered()
        message = await received(sqs, url)
    assert orjson.loads(message["Body"])["id"] == EVENT.id
    attributes = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert attributes == {"type": "app-data-pipeline.group.exported", "id": EVENT.id, "flow": "crm"}


async def test_a_fifo_queue_takes_an_event_once(ministack: S3AndSqs) -> None:
    name = f"events-{token_hex(4)}.fifo"
    async with client(ministack, "sqs") as sqs, open_queue_sender(options(ministack)) as sender:
        url = (await sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"}))["QueueUrl"]
        endpoint = Endpoint("ops", f"sqs://{name}", NOW)
        assert [await sender.send(endpoint, SENT) for _ in range(2)] == [Delivered(), Delivered()]
        await received(sqs, url)
        assert "Messages" not in await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)


async def test_an_event_arrives_at_the_subscribers_of_a_topic(ministack: S3AndSqs) -> None:
    name = f"events-{token_hex(4)}"
    async with (
        client(ministack, "sqs") as sqs,
        client(ministack, "sns") as sns,
        open_queue_sender(options(ministack)) as sender,
    ):
        url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        queue = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
        topic = (await sns.create_topic(Name=name))["TopicArn"]
        await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
        assert await sender.send(Endpoint("ops", topic, NOW), SENT) == Delivered()
        assert orjson.loads((await received(sqs, url))["Body"])["id"] == EVENT.id


async def test_a_queue_or_a_topic_that_does_not_exist_is_named(ministack: S3AndSqs) -> None:
    async with open_queue_sender(options(ministack)) as sender:
        for url in ("sqs://no-such-queue", "arn:aws:sns:us-east-1:000000000000:no-such-topic"):
            answer = await sender.send(Endpoint("ops", url, NOW), SENT)
            assert isinstance(answer, NotDelivered)
            assert url.removeprefix("sqs://") in answer.reason
