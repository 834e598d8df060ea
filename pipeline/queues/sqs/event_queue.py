"""The event queue on SQS, or on a server with SQS's protocol: a standard queue with a dead-letter queue.

asyncio only, as aiobotocore is. It creates nothing: the operator creates the queues and their redrive policy. See
docs/reference/queue.md for the settings and permissions that a queue needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client, resolved_options
from pipeline.domain.errors import ConfigurationError, LeaseLostError
from pipeline.ports.event_queue import Message, QueueDepth, Receipt, check_bodies
from pipeline.queues.sqs.discovery import SqsPlace, find_places
from pipeline.queues.sqs.encoding import ENCODING, incoming, outgoing, reason_attribute
from pipeline.queues.sqs.leases import LONGEST_HOLD_SECONDS, Leases
from pipeline.queues.sqs.polls import LongPolls
from pipeline.queues.sqs.requests import batches

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType
    from types_aiobotocore_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

MAX_MESSAGES = 10
MAX_WAIT_SECONDS = 20
LONGEST_VISIBILITY_SECONDS = LONGEST_HOLD_SECONDS // 4
"""Each extension lasts one visibility time-out, and SQS allows 12 hours in all: this leaves room for a few extensions."""


@asynccontextmanager
async def open_sqs_queue(
    name_or_url: str,
    *,
    visibility_seconds: float,
    aws: AwsOptions = AwsOptions(),  # noqa: B008  a frozen value
    now: Callable[[], float] = time.monotonic,
) -> AsyncIterator[SqsEventQueue]:
    """Find the queue and its dead-letter queue, and open them.

    Args:
        name_or_url: the queue's name in the account of the credentials, or the URL of any queue.
        visibility_seconds: how long a delivered message stays invisible, 1 s to 3 h. Every request carries it, so the
            queue's own setting does not matter.
        aws: how to reach SQS.
        now: a clock in seconds that never goes back; it measures leases.

    ConfigurationError or RefusedError if the queue cannot be used; the message names queue, permission and remedy.
    """
    if not 0 < visibility_seconds <= LONGEST_VISIBILITY_SECONDS:
        raise ConfigurationError(
            f"the visibility time-out of {visibility_seconds} seconds is out of range for SQS; "
            f"set queue_visibility_seconds to 1 to {LONGEST_VISIBILITY_SECONDS}"
        )
    aws = resolved_options("sqs", aws)
    patient = replace(aws, read_timeout_seconds=max(aws.read_timeout_seconds, MAX_WAIT_SECONDS + 10))
    async with open_client("sqs", patient) as client:
        queue, dead = await find_places(client, name_or_url, patient)
        opened = SqsEventQueue(client, queue, dead, visibility_seconds, Leases(now))
        try:
            yield opened
        finally:
            await opened._polls.close()


class SqsEventQueue:
    """Implements `pipeline.ports.event_queue.EventQueue`; made by `open_sqs_queue`.

    SQS counts whole seconds: waits and time-outs are rounded up. A receive with a wait of 0 asks only some of SQS's
    servers and may miss messages; from 1 s on it asks all.
    (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html)
    """

    def __init__(
        self, client: SQSClient, queue: SqsPlace, dead: SqsPlace, visibility_seconds: float, leases: Leases
    ) -> None:
        self._client = client
        self._queue = queue
        self._dead = dead
        self._visibility_seconds = math.ceil(visibility_seconds)
        self._leases = leases
        self._polls = LongPolls(self._receive, self._give_back)

    async def send(self, bodies: Sequence[bytes]) -> None:
        """See the port. Ten messages a request, one request at a time; only failed entries are sent again."""
        check_bodies(bodies)
        entries: list[SendMessageBatchRequestEntryTypeDef] = []
        for body in bodies:
            text, attributes = outgoing(body)
            entries.append({"Id": "", "MessageBody": text, "MessageAttributes": attributes})
        for batch in batches(entries, lambda entry: len(entry["MessageBody"].encode()) + 100):
            await self._queue.requests.ask_in_batch("send messages", "SendMessage", batch, self._send)

    async def _send(
        self, entries: Mapping[str, SendMessageBatchRequestEntryTypeDef]
    ) -> Sequence[BatchResultErrorEntryTypeDef]:
        named = [entry | {"Id": name} for name, entry in entries.items()]
        answer = await self._client.send_message_batch(QueueUrl=self._queue.url, Entries=named)
        return answer.get("Failed", [])

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        """See the port. Messages for a cancelled wait go to the next one.

        Without a next wait they are given back at once, which SQS counts as a delivery.
        """
        await checkpoint()
        return await self._polls.wait(min(max_messages, MAX_MESSAGES), min(math.ceil(wait_seconds), MAX_WAIT_SECONDS))

    async def _receive(self, max_messages: int, wait_seconds: int) -> Sequence[Message]:
        asked_at = self._leases.now()
        answer = await self._queue.requests.ask(
            "receive messages",
            "ReceiveMessage",
            lambda: self._client.receive_message(
                QueueUrl=self._queue.url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=self._visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=[ENCODING],
            ),
        )
        messages = [_message(message, self._queue.max_receives) for message in answer.get("Messages", [])]
        self._leases.take([message.receipt for message in messages], asked_at, self._visibility_seconds)
        return messages

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        """See the port. LeaseLostError also if the message would be held for more than 12 hours, which SQS refuses.

        Then the message is not given back at once: SQS delivers it again when its time-out ends, so the holder has that
        long to stop. A holder that extends by the visibility time-out loses the message at 11 h 59 min less that
        time-out, and may still acknowledge it until the time-out ends.
        """
        whole_seconds = math.ceil(seconds)
        self._leases.check_extension(receipt, whole_seconds)
        asked_at = self._leases.now()
        try:
            await self._queue.requests.ask(
                "extend a message's time-out",
                "ChangeMessageVisibility",
                lambda: self._client.change_message_visibility(
                    QueueUrl=self._queue.url, ReceiptHandle=receipt, VisibilityTimeout=whole_seconds
                ),
            )
        except LeaseLostError:
            self._leases.drop([receipt])
            raise
        self._leases.extend(receipt, asked_at + whole_seconds)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """See the port. Ten receipts a request; calls are not combined, since a group takes minutes of work."""
        for batch in batches(self._leases.held(receipts), lambda _: 0):
            await self._queue.requests.ask_in_batch("acknowledge messages", "DeleteMessage", batch, self._delete)
            self._leases.drop(batch)

    async def _delete(self, receipts: Mapping[str, Receipt]) -> Sequence[BatchResultErrorEntryTypeDef]:
        answer = await self._client.delete_message_batch(
            QueueUrl=self._queue.url,
            Entries=[{"Id": name, "ReceiptHandle": receipt} for name, receipt in receipts.items()],
        )
        return answer.get("Failed", [])

    async def _give_back(self, messages: Sequence[Message]) -> None:
        """Make unread messages visible again."""
        receipts = [message.receipt for message in messages]
        self._leases.drop(receipts)
        await self._queue.requests.ask_in_batch(
            "give messages back", "ChangeMessageVisibility", receipts, self._make_visible
        )

    async def _make_visible(self, receipts: Mapping[str, Receipt]) -> Sequence[BatchResultErrorEntryTypeDef]:
        answer = await self._client.change_message_visibility_batch(
            QueueUrl=self._queue.url,
            Entries=[{"Id": n, "ReceiptHandle": receipt, "VisibilityTimeout": 0} for n, receipt in receipts.items()],
        )
        return answer.get("Failed", [])

    async def reject(self, message: Message, reason: str) -> None:
        """See the port. If another worker holds the message by now, that worker decides, and nothing changes here.

        The message is sent to the dead-letter queue, with the reason as an attribute, and then deleted. After a kill in
        between it is delivered again, and the dead-letter queue may hold it twice.
        """
        try:
            await self.extend(message.receipt, self._visibility_seconds)
        except LeaseLostError:
            return
        text, attributes = outgoing(message.body)
        room_bytes = self._dead.max_bytes - len(text.encode()) - 100
        attributes |= reason_attribute(reason, room_bytes)
        await self._dead.requests.ask(
            "move a message to the dead-letter queue",
            "SendMessage",
            lambda: self._client.send_message(QueueUrl=self._dead.url, MessageBody=text, MessageAttributes=attributes),
        )
        await self.acknowledge([message.receipt])

    async def depth(self) -> QueueDepth:
        """See the port. The numbers are SQS's estimates, up to a minute old; a delayed message counts as waiting."""
        waiting, in_flight = await self._count(self._queue)
        return QueueDepth(waiting, in_flight, sum(await self._count(self._dead)))

    async def _count(self, place: SqsPlace) -> tuple[int, int]:
        names: list[QueueAttributeNameType] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        answer = await place.requests.ask(
            "count messages",
            "GetQueueAttributes",
            lambda: self._client.get_queue_attributes(QueueUrl=place.url, AttributeNames=names),
        )
        visible, delayed, hidden = (int(answer["Attributes"].get(name, "0")) for name in names)
        return visible + delayed, hidden


def _message(message: MessageTypeDef, max_receives: int) -> Message:
    count = int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    return Message(incoming(message), Receipt(message["ReceiptHandle"]), count, 0 < max_receives <= count)
