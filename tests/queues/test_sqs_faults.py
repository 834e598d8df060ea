"""The SQS queue behind a faulty connection: throttling, lost answers, partly failed batches, missing permissions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import pytest

from pipeline.domain.errors import LeaseLostError, RefusedError, TransientError
from pipeline.ports.event_queue import Message, Receipt
from pipeline.queues.sqs.event_queue import SqsEventQueue, open_sqs_queue
from tests.queues.sqs_faults import (
    Answer,
    Forward,
    Payload,
    SqsProxy,
    failing_entries,
    lost_answer,
    refusing,
    sqs_proxy,
)
from tests.queues.sqs_queues import new_queue
from tests.servers.addresses import S3AndSqs


@pytest.fixture(autouse=True)
def _short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits this long for an open long poll: it has nothing to wait for here."""
    monkeypatch.setattr("pipeline.queues.sqs.polls.CLOSE_SECONDS", 0.5)


@asynccontextmanager
async def faulty_queue(
    ministack: S3AndSqs, visibility_seconds: float = 300.0
) -> AsyncIterator[tuple[SqsProxy, SqsEventQueue]]:
    async with new_queue(ministack.sqs) as new, sqs_proxy(ministack.sqs) as (proxy, server):
        aws = replace(new.aws, endpoint_url=server.endpoint_url)
        async with open_sqs_queue(new.name, visibility_seconds=visibility_seconds, aws=aws) as queue:
            yield proxy, queue


async def all_of(queue: SqsEventQueue) -> list[Message]:
    messages: list[Message] = []
    while found := await queue.receive(max_messages=10):
        messages += found
    return messages


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def sizes(proxy: SqsProxy, action: str) -> list[int]:
    return [len(payload["Entries"]) for payload in proxy.payloads(action)]


async def test_a_request_carries_ten_messages(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send(bodies(25))
        messages = await all_of(queue)
        await queue.acknowledge([message.receipt for message in messages])
        assert sizes(proxy, "SendMessageBatch") == [10, 10, 5]
        assert sizes(proxy, "DeleteMessageBatch") == [10, 10, 5]
        assert sorted(int(message.body) for message in messages) == list(range(25))


async def test_a_request_stays_within_the_size_that_sqs_takes(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send([b"x" * 100_000] * 5)
        assert sizes(proxy, "SendMessageBatch") == [2, 2, 1]


async def test_only_failed_entries_of_a_batch_are_sent_again(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        fault = failing_entries("1", "3", code="ServiceUnavailable", sender=False)
        proxy.script = [("SendMessageBatch", fault), ("SendMessageBatch", failing_entries("3", code="X", sender=False))]
        await queue.send(bodies(5))
        assert sizes(proxy, "SendMessageBatch") == [5, 2, 1]
        assert sorted(message.body for message in await all_of(queue)) == bodies(5)


async def test_a_throttled_entry_is_sent_again_even_as_a_sender_fault(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        proxy.script = [("SendMessageBatch", failing_entries("0", code="RequestThrottled", sender=True))]
        await queue.send(bodies(2))
        assert sorted(message.body for message in await all_of(queue)) == bodies(2)


async def test_a_refused_entry_is_raised_after_the_others_were_sent(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        proxy.script = [
            ("SendMessageBatch", failing_entries("0", code="KmsAccessDenied", sender=True)),
        ]
        with pytest.raises(RefusedError, match="kms:GenerateDataKey"):
            await queue.send(bodies(3))
        assert sorted(message.body for message in await all_of(queue)) == [b"1", b"2"]


async def test_failed_deletions_are_repeated_and_lost_leases_skipped(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send(bodies(3))
        receipts = [message.receipt for message in await all_of(queue)]
        proxy.script = [
            ("DeleteMessageBatch", failing_entries("0", code="InternalError", sender=False)),
            ("DeleteMessageBatch", failing_entries("0", code="ReceiptHandleIsInvalid", sender=True)),
        ]
        await queue.acknowledge(receipts)
        assert sizes(proxy, "DeleteMessageBatch") == [3, 1]


@pytest.mark.parametrize(("status", "code"), [(400, "RequestThrottled"), (400, "ThrottlingException"), (503, "")])
async def test_throttling_is_retried(ministack: S3AndSqs, status: int, code: str) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        fault = refusing(status, code)
        proxy.script = [("SendMessageBatch", fault), ("SendMessageBatch", fault), ("ReceiveMessage", fault)]
        await queue.send([b"x"])
        assert [message.body for message in await queue.receive()] == [b"x"]


async def test_throttling_that_lasts_is_raised_with_the_number_of_tries(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        proxy.script = [("SendMessageBatch", refusing(400, "RequestThrottled"))] * 4
        with pytest.raises(TransientError, match=r"send messages.*RequestThrottled.*tried 4 times"):
            await queue.send([b"x"])


async def test_an_answer_lost_on_sending_may_double_a_message_and_loses_none(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        proxy.script = [("SendMessageBatch", lost_answer)]
        await queue.send([b"x"])
        assert [message.body for message in await all_of(queue)] == [b"x", b"x"]


async def test_messages_of_a_lost_answer_are_delivered_again(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack, visibility_seconds=1) as (proxy, queue):
        await queue.send([b"x"])
        proxy.script = [("ReceiveMessage", lost_answer)]
        [message] = await queue.receive(wait_seconds=3)
        assert (message.body, message.receive_count) == (b"x", 2)


async def test_a_message_delivered_twice_can_be_acknowledged_twice(ministack: S3AndSqs) -> None:
    async def doubled(payload: Payload, forward: Forward) -> Answer:
        status, answer = await forward(payload)
        return status, answer | {"Messages": answer["Messages"] * 2}

    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send([b"x"])
        proxy.script = [("ReceiveMessage", doubled)]
        one, other = await queue.receive(max_messages=2)
        assert one.body == other.body
        await queue.acknowledge([one.receipt])
        await queue.acknowledge([other.receipt])
        assert await all_of(queue) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidParameterValue", "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"),
        ("InvalidParameterValue", "Message does not exist or is not available for visibility timeout change."),
        ("InvalidParameterValue", "Value x for parameter ReceiptHandle is invalid. The receipt handle has expired."),
        ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
        ("MessageNotInflight", ""),
    ],
)
async def test_each_answer_of_sqs_for_a_lost_lease_is_recognised(ministack: S3AndSqs, code: str, message: str) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send([b"x"])
        [received] = await queue.receive()
        proxy.script = [("ChangeMessageVisibility", refusing(400, code, message))]
        with pytest.raises(LeaseLostError):
            await queue.extend(received.receipt, 60)
        with pytest.raises(LeaseLostError):
            await queue.extend(received.receipt, 60)
        assert len(proxy.payloads("ChangeMessageVisibility")) == 1


Verb = Callable[[SqsEventQueue, Message], Awaitable[object]]


@pytest.mark.parametrize(
    ("action", "permission", "verb"),
    [
        ("SendMessageBatch", "sqs:SendMessage", lambda queue, _: queue.send([b"y"])),
        ("ReceiveMessage", "sqs:ReceiveMessage", lambda queue, _: queue.receive()),
        ("ChangeMessageVisibility", "sqs:ChangeMessageVisibility", lambda queue, it: queue.extend(it.receipt, 9)),
        ("DeleteMessageBatch", "sqs:DeleteMessage", lambda queue, it: queue.acknowledge([it.receipt])),
        ("SendMessage", "sqs:SendMessage", lambda queue, it: queue.reject(it, "no")),
        ("GetQueueAttributes", "sqs:GetQueueAttributes", lambda queue, _: queue.depth()),
    ],
)
async def test_a_missing_permission_is_named_with_its_queue(
    ministack: S3AndSqs, action: str, permission: str, verb: Verb
) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.send([b"x"])
        [message] = await queue.receive()
        proxy.script = [(action, refusing(403, "AccessDeniedException", "User is not authorized"))]
        with pytest.raises(RefusedError, match=f"queue pipeline-.*permission {permission} on .*pipeline-"):
            await verb(queue, message)


async def test_the_next_wait_adopts_the_request_of_a_cancelled_wait(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        for _ in range(3):
            with anyio.move_on_after(0.05):
                await queue.receive(wait_seconds=20)
        await queue.send([b"x"])
        [message] = await queue.receive(max_messages=10, wait_seconds=5)
        assert (message.body, message.receive_count) == (b"x", 1)
        assert len(proxy.payloads("ReceiveMessage")) == 1


async def test_a_wait_that_adopts_a_request_lasts_as_long_as_any(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        with anyio.move_on_after(0.1):
            await queue.receive(wait_seconds=1)
        started = anyio.current_time()
        assert list(await queue.receive(wait_seconds=1)) == []
        assert anyio.current_time() - started >= 0.99
        with anyio.move_on_after(0.1):
            await queue.receive(wait_seconds=20)
        started = anyio.current_time()
        assert list(await queue.receive(wait_seconds=1)) == []
        assert 0.99 <= anyio.current_time() - started < 10
        assert len(proxy.payloads("ReceiveMessage")) == 3


async def test_messages_without_a_waiting_receiver_are_given_back(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        with anyio.move_on_after(0.1):
            await queue.receive(max_messages=10, wait_seconds=20)
        await queue.send([b"x", b"y"])
        with anyio.fail_after(60):
            while not proxy.payloads("ChangeMessageVisibilityBatch"):  # noqa: ASYNC110  the queue has no event for it
                await anyio.sleep(0.02)
        assert {message.body for message in await all_of(queue)} == {b"x", b"y"}


async def test_closing_does_not_wait_for_an_orphaned_long_poll(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(partial(queue.receive, wait_seconds=20))
            while not (payloads := proxy.payloads("ReceiveMessage")):  # noqa: ASYNC110  the proxy has no event for it
                await anyio.sleep(0.01)
            waiting.cancel_scope.cancel()
        assert payloads[0]["WaitTimeSeconds"] == 20
        started = anyio.current_time()
    assert anyio.current_time() - started < 10


async def test_an_unknown_receipt_is_lost_without_a_request(ministack: S3AndSqs) -> None:
    async with faulty_queue(ministack) as (proxy, queue):
        await queue.acknowledge([Receipt("another's")])
        with pytest.raises(LeaseLostError):
            await queue.extend(Receipt("another's"), 5)
        assert proxy.payloads("DeleteMessageBatch") == proxy.payloads("ChangeMessageVisibility") == []
