"""Finds a queue and its dead-letter queue, and checks that they can be used. It creates and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pipeline.aws.options import AwsOptions
from pipeline.domain.errors import ConfigurationError
from pipeline.ports.event_queue import MAX_BODY_BYTES
from pipeline.queues.sqs.requests import QueueRequests

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient


@dataclass(frozen=True, slots=True)
class SqsPlace:
    """An existing queue: its name, its URL, its largest message in bytes, and the requests to it.

    A message is delivered at most `max_receives` times; 0: without a limit.
    """

    name: str
    url: str
    max_bytes: int
    requests: QueueRequests
    max_receives: int = 0


class _Redrive(msgspec.Struct, rename="camel"):
    """SQS's RedrivePolicy. maxReceiveCount is a number or its text, depending on how the queue was created."""

    dead_letter_target_arn: str
    max_receive_count: int | str


async def find_places(client: SQSClient, name_or_url: str, options: AwsOptions) -> tuple[SqsPlace, SqsPlace]:
    """Return the queue and the dead-letter queue that its redrive policy names.

    ConfigurationError: one of them is missing, is a FIFO queue, takes too small messages, or the queue has no redrive
    policy. Without a policy, SQS would deliver a message that kills its worker for ever, and a rejected message would
    have no place to go. RefusedError names the permission that the role lacks.
    """
    name = name_or_url.rstrip("/").rpartition("/")[2] if "://" in name_or_url else name_or_url
    if name.endswith(".fifo"):
        raise ConfigurationError(
            f"{name} is a FIFO queue; name a standard queue. "
            "File Lists keep the order, so a FIFO queue would only delay messages"
        )
    requests = _requests(name, name, options)
    url = name_or_url if "://" in name_or_url else await _look_up(client, requests, name)
    attributes = await _attributes(client, requests, url)
    max_bytes = int(attributes.get("MaximumMessageSize", MAX_BODY_BYTES))
    if max_bytes < MAX_BODY_BYTES:
        raise ConfigurationError(
            f"the queue {name} takes messages of at most {max_bytes} bytes; "
            f"set its MaximumMessageSize to {MAX_BODY_BYTES} or more"
        )
    dead_name, owner, max_receives = _dead_letter_queue(name, attributes.get("RedrivePolicy"))
    queue = SqsPlace(name, url, max_bytes, _requests(name, attributes.get("QueueArn", name), options), max_receives)
    return queue, await _find_dead(client, dead_name, owner, options)


async def _find_dead(client: SQSClient, name: str, owner: str, options: AwsOptions) -> SqsPlace:
    requests = _requests(f"{name}, the dead-letter queue", name, options)
    url = await _look_up(client, requests, name, owner)
    attributes = await _attributes(client, requests, url)
    max_bytes = int(attributes.get("MaximumMessageSize", MAX_BODY_BYTES))
    return SqsPlace(name, url, max_bytes, requests)


async def _look_up(client: SQSClient, requests: QueueRequests, name: str, owner: str = "") -> str:
    whose = {"QueueOwnerAWSAccountId": owner} if owner else {}
    answer = await requests.ask(
        "find the queue",
        "GetQueueUrl",
        lambda: client.get_queue_url(QueueName=name, **whose),
    )
    return answer["QueueUrl"]


async def _attributes(client: SQSClient, requests: QueueRequests, url: str) -> dict[str, str]:
    answer = await requests.ask(
        "read the settings of the queue",
        "GetQueueAttributes",
        lambda: client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn", "RedrivePolicy", "MaximumMessageSize"]
        ),
    )
    return {str(name): value for name, value in answer.get("Attributes", {}).items()}


def _dead_letter_queue(name: str, policy: str | None) -> tuple[str, str, int]:
    """Return the dead-letter queue's name and account, and how often a message is delivered before it goes there.

    It is always in the queue's own region.
    """
    way_out = (
        "create a dead-letter queue, and set the RedrivePolicy of this queue to "
        '{"deadLetterTargetArn": "<its ARN>", "maxReceiveCount": "5"}'
    )
    if not policy:
        raise ConfigurationError(
            f"the queue {name} has no redrive policy, so messages that fail would be delivered for ever; {way_out}"
        )
    try:
        redrive = msgspec.json.decode(policy, type=_Redrive)
        arn, max_receives = redrive.dead_letter_target_arn.split(":"), int(redrive.max_receive_count)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"the redrive policy of the queue {name} cannot be read: {error}; {way_out}"
        ) from error
    if len(arn) != 6:
        raise ConfigurationError(f"the redrive policy of the queue {name} names no queue: {policy}; {way_out}")
    return arn[5], arn[4], max_receives


def _requests(name: str, resource: str, options: AwsOptions) -> QueueRequests:
    region = f", region {options.region}" if options.region else ""
    return QueueRequests(options, f"queue {name} at {options.endpoint_url or 'AWS'}{region}", resource)
