"""The SQS queue beyond the port: dead letters, the limit of 12 hours, and its error messages."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest

from pipeline.domain.errors import ConfigurationError, LeaseLostError, PipelineError
from pipeline.ports.event_queue import Message, QueueDepth
from pipeline.queues.sqs.event_queue import SqsEventQueue, open_sqs_queue
from tests.queues.sqs_faults import refusing, sqs_proxy
from tests.queues.sqs_queues import MAX_RECEIVES, NewQueue, aws_options, new_queue
from tests.servers.addresses import S3AndSqs

VISIBILITY_SECONDS = 300.0
HOUR = 3600.0


async def dead_letters(new: NewQueue) -> list[tuple[str, str | None]]:
    """Return the text and the reason of each dead letter."""
    answer = await new.client.receive_message(
        QueueUrl=new.dead_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found: list[tuple[str, str | None]] = []
    for message in answer.get("Messages", []):
        reason = message.get("MessageAttributes", {}).get("pipeline-reason")
        found.append((message["Body"], reason and reason.get("StringValue")))
    return found


async def arn_of(new: NewQueue, url: str) -> str:
    answer = await new.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


async def one_of(queue: SqsEventQueue) -> Message:
    [message] = await queue.receive(wait_seconds=2)
    return message


async def refusal(name_or_url: str, server: S3AndSqs, visibility_seconds: float = 30.0) -> str:
    """Return why the queue cannot be opened."""
    with pytest.raises(ConfigurationError) as raised:
        async with open_sqs_queue(name_or_url, visibility_seconds=visibility_seconds, aws=aws_options(server.sqs)):
            pass
    return str(raised.value)


async def test_a_rejected_message_s_reason_is_in_the_dead_letter_queue(ministack: S3AndSqs) -> None:
    reasons = ["it is of Flow 'a\u00df', not 'b'", "a\x00b", "x" * 5_000, ""]
    async with (
        new_queue(ministack.sqs) as new,
        open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws) as queue,
    ):
        await queue.send([b'{"a": 1}'] * len(reasons))
        for reason in reasons:
            await queue.reject(await one_of(queue), reason)
        found = await dead_letters(new)
        assert {body for body, _ in found} == {'{"a": 1}'}
        assert {reason for _, reason in found} == {reasons[0], "a\ufffdb", "x" * 2_000, "no reason given"}
        assert await queue.depth() == QueueDepth(0, 0, len(reasons))


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_the_largest_foreign_message_can_be_rejected(ministack: S3AndSqs) -> None:
    body = "x" * 1024 * 1024
    async with (
        new_queue(ministack.sqs) as new,
        open_sqs_queue(new.url, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws) as queue,
    ):
        await new.client.send_message(QueueUrl=new.url, MessageBody=body)
        await queue.reject(await one_of(queue), "not ours")
        [(found, reason)] = await dead_letters(new)
        assert (len(found), reason) == (len(body), None)


async def test_rejecting_a_message_that_another_worker_holds_changes_nothing(ministack: S3AndSqs) -> None:
    async with new_queue(ministack.sqs) as new:
        opened = open_sqs_queue(new.name, visibility_seconds=1, aws=new.aws)
        other = open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws)
        async with opened as queue, other as other_queue:
            await queue.send([b"x"])
            stale = await one_of(queue)
            taken = await one_of(other_queue)
            await queue.reject(stale, "too late")
            await queue.acknowledge([stale.receipt])
            with pytest.raises(LeaseLostError):
                await queue.extend(stale.receipt, 60)
            assert await queue.depth() == QueueDepth(0, 1, 0)
            await other_queue.acknowledge([taken.receipt])
            assert await queue.depth() == QueueDepth(0, 0, 0)


async def test_dead_letters_are_delivered_again_after_a_redrive(localstack: S3AndSqs) -> None:
    async with (
        new_queue(localstack.sqs) as new,
        open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws) as queue,
    ):
        await queue.send([b"poison"])
        for count in range(1, MAX_RECEIVES + 1):
            message = await one_of(queue)
            assert message.receive_count == count
            await queue.extend(message.receipt, 0)
        await queue.send([b"\x00rejected"])
        await queue.reject(await one_of(queue), "no")
        assert (await queue.depth()).dead == 2
        arns = [await arn_of(new, url) for url in (new.dead_url, new.url)]
        await new.client.start_message_move_task(SourceArn=arns[0], DestinationArn=arns[1])
        assert {(await one_of(queue)).body, (await one_of(queue)).body} == {b"poison", b"\x00rejected"}


async def test_text_that_sqs_would_alter_arrives_unchanged(ministack: S3AndSqs) -> None:
    bodies = {b"\x00\x1f\x7f", "\ufffe\uffff".encode(), "\u00e9\U0001f600\t\r\n".encode(), b"aGVsbG8="}
    async with (
        new_queue(ministack.sqs) as new,
        open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws) as queue,
    ):
        await queue.send(sorted(bodies))
        assert {message.body for message in await queue.receive(max_messages=10)} == bodies


async def test_a_message_is_given_up_before_twelve_hours(ministack: S3AndSqs) -> None:
    now = 0.0
    async with (
        new_queue(ministack.sqs) as new,
        open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws, now=lambda: now) as queue,
    ):
        await queue.send([b"x"])
        message = await one_of(queue)
        last_until = 12 * HOUR - 60
        while now + VISIBILITY_SECONDS <= last_until:
            await queue.extend(message.receipt, VISIBILITY_SECONDS)
            now += VISIBILITY_SECONDS / 3
        with pytest.raises(LeaseLostError, match=r"11\.9 hours.*SQS delivers it again"):
            await queue.extend(message.receipt, VISIBILITY_SECONDS)
        assert await queue.receive() == []
        await queue.extend(message.receipt, 0)
        assert (await one_of(queue)).body == b"x"


async def test_an_expired_receipt_is_forgotten(ministack: S3AndSqs) -> None:
    now = 0.0
    async with (
        new_queue(ministack.sqs) as new,
        open_sqs_queue(new.name, visibility_seconds=30, aws=new.aws, now=lambda: now) as queue,
    ):
        await queue.send([b"x"] * 3)
        message = await one_of(queue)
        now += 30
        with pytest.raises(LeaseLostError, match="passed"):
            await queue.extend(message.receipt, 30)
        await one_of(queue)
        assert len(queue._leases) == 1


async def test_the_pipeline_s_time_out_counts_and_not_the_queue_s(ministack: S3AndSqs) -> None:
    async with new_queue(ministack.sqs) as new:
        await new.client.set_queue_attributes(QueueUrl=new.url, Attributes={"VisibilityTimeout": "0"})
        async with open_sqs_queue(new.name, visibility_seconds=VISIBILITY_SECONDS, aws=new.aws) as queue:
            await queue.send([b"x"])
            await one_of(queue)
            assert await queue.receive() == []


@pytest.mark.parametrize(("name", "action"), [("absent", "GetQueueUrl"), ("{}/1/absent", "GetQueueAttributes")])
async def test_a_missing_queue_is_named_with_the_permission_to_see_it(
    ministack: S3AndSqs, name: str, action: str
) -> None:
    said = await refusal(name.format(ministack.sqs.endpoint_url), ministack)
    assert "queue absent at http://127.0.0.1" in said
    assert f"sqs:{action} on absent" in said
    assert "create it" in said


@pytest.mark.parametrize("action", ["GetQueueUrl", "GetQueueAttributes"])
async def test_a_queue_that_may_not_be_read_is_named_with_the_permission(ministack: S3AndSqs, action: str) -> None:
    async with new_queue(ministack.sqs) as new, sqs_proxy(ministack.sqs) as (proxy, server):
        proxy.script = [(action, refusing(403, "AccessDenied", "Access to the resource is denied."))]
        with pytest.raises(PipelineError, match=f"queue {new.name} at .*permission sqs:{action} on {new.name}"):
            async with open_sqs_queue(new.name, visibility_seconds=30, aws=aws_options(server)):
                pass


async def test_a_queue_without_redrive_policy_is_refused(ministack: S3AndSqs) -> None:
    async with new_queue(ministack.sqs) as new:
        name = new.dead_url.rpartition("/")[2]
        said = await refusal(name, ministack)
        assert f"the queue {name} has no redrive policy" in said
        assert '"deadLetterTargetArn"' in said


async def test_a_missing_dead_letter_queue_is_named(ministack: S3AndSqs) -> None:
    async with new_queue(ministack.sqs) as new:
        await new.client.delete_queue(QueueUrl=new.dead_url)
        assert f"queue {new.name}-dead, the dead-letter queue" in await refusal(new.name, ministack)
        await new.client.create_queue(QueueName=f"{new.name}-dead")


async def test_a_queue_of_small_messages_is_refused(ministack: S3AndSqs) -> None:
    async with new_queue(ministack.sqs) as new:
        await new.client.set_queue_attributes(QueueUrl=new.url, Attributes={"MaximumMessageSize": "1024"})
        assert "at most 1024 bytes; set its MaximumMessageSize to 262144" in await refusal(new.name, ministack)


async def test_a_fifo_queue_and_a_time_out_out_of_range_are_refused(ministack: S3AndSqs) -> None:
    assert "groups.fifo is a FIFO queue" in await refusal("groups.fifo", ministack)
    for seconds in (0.0, -1.0, 4 * HOUR):
        assert "set queue_visibility_seconds to 1 to 10800" in await refusal("groups", ministack, seconds)


async def test_no_error_shows_a_secret(ministack: S3AndSqs) -> None:
    secret = "hunter2hunter2"
    async with new_queue(ministack.sqs) as new, sqs_proxy(ministack.sqs) as (proxy, server):
        aws = replace(new.aws, endpoint_url=server.endpoint_url, secret_access_key=secret, session_token=secret * 2)
        codes = ("InvalidClientTokenId", "SignatureDoesNotMatch", "AccessDenied", "RequestThrottled", "Unheard")
        for code in codes:
            proxy.script = [("GetQueueUrl", refusing(403, code, "no"))] * aws.tries
            with pytest.raises(PipelineError) as raised:
                async with open_sqs_queue(new.name, visibility_seconds=30, aws=aws):
                    pass
            assert code in str(raised.value)
            assert secret not in "".join(traceback.format_exception(raised.value))
        proxy.script = []
        async with open_sqs_queue(new.name, visibility_seconds=30, aws=aws) as queue:
            assert secret not in f"{queue!r} {vars(queue)!r}"


async def test_an_endpoint_that_does_not_answer_is_named(ministack: S3AndSqs) -> None:
    aws = replace(aws_options(ministack.sqs), endpoint_url="http://127.0.0.1:9", tries=2)
    with pytest.raises(
        PipelineError, match=r"queue groups at http://127\.0\.0\.1:9.*check the endpoint.*tried 2 times"
    ):
        async with open_sqs_queue("groups", visibility_seconds=30, aws=aws):
            pass
