"""The servers that tests and users are given answer, hold what `resources.toml` names, and are shut off from the network."""

from __future__ import annotations

import json
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from botocore.exceptions import ClientError

from localstack.provision import Access, provision, provision_bucket, provision_queue
from localstack.resources import Queue, Resources, read_resources
from tests.servers.addresses import LOOPBACK, S3AndSqs, S3Server, SqsServer
from tests.servers.postgresql import PostgresqlServer

pytestmark = pytest.mark.server

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

WITH_SQS = ["ministack", "moto", "localstack"]
RESOURCES = read_resources()


def access(server: S3Server | SqsServer) -> Access:
    return Access(server.endpoint_url, server.region, server.access_key_id, server.secret_access_key)


def named(request: pytest.FixtureRequest, name: str) -> S3AndSqs:
    server = request.getfixturevalue(name)
    assert isinstance(server, S3AndSqs)
    return server


def s3_of(request: pytest.FixtureRequest, name: str) -> S3Server:
    server = request.getfixturevalue(name)
    return server if isinstance(server, S3Server) else named(request, name).s3


def elsewhere(resources: Resources) -> Resources:
    """The same under names that no other test uses."""
    mark = token_hex(4)
    queues = tuple(replace(queue, name=f"{queue.name}-{mark}") for queue in resources.queues)
    return Resources(replace(resources.bucket, name=f"{resources.bucket.name}-{mark}"), queues)


@pytest.mark.parametrize("name", ["seaweedfs", *WITH_SQS])
async def test_an_object_that_was_put_is_got_and_is_not_put_twice(name: str, request: pytest.FixtureRequest) -> None:
    async with access(s3_of(request, name)).s3() as s3:
        bucket = f"bucket-{token_hex(4)}"
        await s3.create_bucket(Bucket=bucket)
        await s3.put_object(Bucket=bucket, Key="a b/ä", Body=b"content", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            await s3.put_object(Bucket=bucket, Key="a b/ä", Body=b"other", IfNoneMatch="*")
        assert await read(s3, bucket, "a b/ä") == b"content"


@pytest.mark.parametrize("name", WITH_SQS)
async def test_a_message_that_was_sent_is_received(name: str, request: pytest.FixtureRequest) -> None:
    async with access(named(request, name).sqs).sqs() as sqs:
        url = (await sqs.create_queue(QueueName=f"queue-{token_hex(4)}"))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody="ring")
        assert await receive(sqs, url) == ["ring"]


@pytest.mark.parametrize("name", WITH_SQS)
async def test_what_the_resources_name_is_there_after_provisioning(name: str, request: pytest.FixtureRequest) -> None:
    server, resources = named(request, name), elsewhere(RESOURCES)
    first = await provision(resources, access(server.s3))
    assert all(line.endswith(": created") for line in first)
    async with access(server.s3).s3() as s3, access(server.sqs).sqs() as sqs:
        rules = (await s3.get_bucket_lifecycle_configuration(Bucket=resources.bucket.name))["Rules"]
        assert rules[0]["AbortIncompleteMultipartUpload"] == {
            "DaysAfterInitiation": resources.bucket.abort_stale_uploads_days
        }
        for queue in resources.queues:
            assert await queue_as_it_is(sqs, queue.name) == queue
    assert all(line.endswith(": unchanged") for line in await provision(resources, access(server.s3)))


async def test_what_differs_is_corrected_and_what_it_holds_stays(ministack: S3AndSqs) -> None:
    resources = elsewhere(RESOURCES)
    queue, bucket = resources.queues[0], resources.bucket
    async with access(ministack.s3).s3() as s3, access(ministack.sqs).sqs() as sqs:
        await provision_queue(
            sqs, replace(queue, visibility_seconds=7, max_receive_count=2, dead_retention_seconds=600)
        )
        await provision_bucket(s3, replace(bucket, abort_stale_uploads_days=1), ministack.s3.region)
        await s3.put_object(Bucket=bucket.name, Key="kept", Body=b"content")
        url = (await sqs.get_queue_url(QueueName=queue.name))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody="kept")
        lines = await provision(resources, access(ministack.s3))
        assert [line.partition(": ")[2] for line in lines] == ["corrected"] * 3 + ["created"] * 2
        assert await queue_as_it_is(sqs, queue.name) == queue
        assert await receive(sqs, url) == ["kept"]
        assert await read(s3, bucket.name, "kept") == b"content"


@pytest.mark.parametrize("name", ["ministack", "localstack"])
async def test_a_message_received_too_often_is_dead(name: str, request: pytest.FixtureRequest) -> None:
    queue = replace(elsewhere(RESOURCES).queues[0], max_receive_count=2)
    async with access(named(request, name).sqs).sqs() as sqs:
        await provision_queue(sqs, queue)
        url, dead = [(await sqs.get_queue_url(QueueName=one))["QueueUrl"] for one in (queue.name, queue.dead_name)]
        await sqs.send_message(QueueUrl=url, MessageBody="poison")
        for _ in range(queue.max_receive_count):
            assert await receive(sqs, url, visibility_seconds=0) == ["poison"]
        assert await receive(sqs, url, wait_seconds=0) == []
        assert await receive(sqs, dead) == ["poison"]


async def test_another_region_has_its_bucket_too(localstack: S3AndSqs) -> None:
    resources = elsewhere(RESOURCES)
    abroad = replace(access(localstack.s3), region="eu-central-1")
    await provision(resources, abroad)
    async with abroad.s3() as s3:
        place = await s3.get_bucket_location(Bucket=resources.bucket.name)
        assert place["LocationConstraint"] == "eu-central-1"


@pytest.mark.parametrize("name", ["seaweedfs", *WITH_SQS])
def test_nothing_listens_beyond_loopback(name: str, request: pytest.FixtureRequest) -> None:
    process_id = s3_of(request, name).process_id
    assert process_id is not None
    listening = listening_addresses(process_id)
    assert listening
    assert listening <= {LOOPBACK, "::1"}


def test_postgresql_answers_on_a_unix_socket_only(postgresql: PostgresqlServer) -> None:
    with psycopg.connect(postgresql.uri("postgres")) as connection:
        assert connection.execute("SELECT current_setting('server_version_num')::int >= 180000").fetchone() == (True,)
    assert postgresql.process_id is not None
    assert listening_addresses(postgresql.process_id) == set()


async def read(s3: S3Client, bucket: str, key: str) -> bytes:
    return await (await s3.get_object(Bucket=bucket, Key=key))["Body"].read()


async def receive(sqs: SQSClient, url: str, *, wait_seconds: int = 5, visibility_seconds: int = 30) -> list[str]:
    answer = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=wait_seconds, VisibilityTimeout=visibility_seconds)
    return [message["Body"] for message in answer.get("Messages", [])]


async def queue_as_it_is(sqs: SQSClient, name: str) -> Queue:
    """What the server says about the queue of this name, and about the one it sends dead letters to."""
    url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
    has = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    redrive = json.loads(has["RedrivePolicy"])
    dead_name = redrive["deadLetterTargetArn"].rpartition(":")[2]
    assert dead_name == f"{name}-dead"
    dead_url = (await sqs.get_queue_url(QueueName=dead_name))["QueueUrl"]
    dead = (await sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["All"]))["Attributes"]
    return Queue(
        name=name,
        visibility_seconds=int(has["VisibilityTimeout"]),
        max_receive_count=int(redrive["maxReceiveCount"]),
        retention_seconds=int(has["MessageRetentionPeriod"]),
        dead_retention_seconds=int(dead["MessageRetentionPeriod"]),
    )


def listening_addresses(process_id: int) -> set[str]:
    """The addresses at which a process accepts connections by TCP."""
    connections = psutil.Process(process_id).net_connections("tcp")
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
