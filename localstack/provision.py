"""Makes the bucket and the queues of `resources.toml` in a local stack, and corrects those that differ.

    python -m localstack.provision --endpoint-url http://127.0.0.1:4566 --region us-east-1

Doing it again changes nothing. No bucket, object, queue or message is ever deleted. It does not ask for credentials: a
local stack takes any, and so no account can be changed by accident.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from localstack.resources import Bucket, Queue, Resources, read_resources

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import LifecycleRuleUnionTypeDef
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

ENDPOINT_URL = "http://127.0.0.1:4566"
REGION = "us-east-1"
_RULE = "abort-stale-uploads"
_RETRIES = {"total_max_attempts": 2}
"""A stack that is not there is told soon."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where a local stack is, and with what credentials it is asked."""

    endpoint_url: str = ENDPOINT_URL
    region: str = REGION
    access_key_id: str = "test"
    secret_access_key: str = "test"

    def s3(self) -> AbstractAsyncContextManager[S3Client]:
        """Opens a client of S3."""
        return get_session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=AioConfig(s3={"addressing_style": "path"}, retries=_RETRIES, read_timeout=30),
        )

    def sqs(self) -> AbstractAsyncContextManager[SQSClient]:
        """Opens a client of SQS."""
        return get_session().create_client(
            "sqs",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=AioConfig(retries=_RETRIES, read_timeout=30),
        )


async def provision(resources: Resources, access: Access) -> list[str]:
    """Make it so; a line for each thing, "made", "corrected" or "as it should be". Raises ClientError or BotoCoreError."""
    async with access.s3() as s3, access.sqs() as sqs:
        done = await provision_bucket(s3, resources.bucket, access.region)
        for queue in resources.queues:
            done += await provision_queue(sqs, queue)
        return done


async def provision_bucket(s3: S3Client, bucket: Bucket, region: str) -> list[str]:
    """Make the bucket and its rule about stale uploads."""
    made = not await _has_bucket(s3, bucket.name)
    if made and region == "us-east-1":  # S3 wants no location there, and one everywhere else
        await s3.create_bucket(Bucket=bucket.name)
    elif made:
        await s3.create_bucket(Bucket=bucket.name, CreateBucketConfiguration={"LocationConstraint": region})  # type: ignore[typeddict-item]
    rule: LifecycleRuleUnionTypeDef = {
        "ID": _RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": bucket.abort_stale_uploads_days},
    }
    corrected = await _days(s3, bucket.name) != bucket.abort_stale_uploads_days
    if corrected:
        await s3.put_bucket_lifecycle_configuration(Bucket=bucket.name, LifecycleConfiguration={"Rules": [rule]})
    return [f"bucket {bucket.name}: {_word(made, corrected)}"]


async def provision_queue(sqs: SQSClient, queue: Queue) -> list[str]:
    """Make the dead-letter queue first, since the queue names it."""
    dead_url, dead_line = await _queue(
        sqs, queue.dead_name, {"MessageRetentionPeriod": str(queue.dead_retention_seconds)}
    )
    dead = await sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": dead["Attributes"]["QueueArn"], "maxReceiveCount": queue.max_receive_count}
    attributes: dict[QueueAttributeNameType, str] = {
        "VisibilityTimeout": str(queue.visibility_seconds),
        "MessageRetentionPeriod": str(queue.retention_seconds),
        "RedrivePolicy": json.dumps(redrive),
    }
    _, line = await _queue(sqs, queue.name, attributes)
    return [dead_line, line]


async def _has_bucket(s3: S3Client, name: str) -> bool:
    try:
        await s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


async def _days(s3: S3Client, bucket: str) -> int | None:
    """After how many days the bucket's rule removes stale uploads; None without one."""
    try:
        found = await s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return None
        raise
    rules = [rule for rule in found["Rules"] if rule.get("ID") == _RULE and rule["Status"] == "Enabled"]
    return rules[0]["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation") if rules else None


async def _queue(sqs: SQSClient, name: str, wanted: Mapping[QueueAttributeNameType, str]) -> tuple[str, str]:
    """The queue's address, and what was done."""
    try:
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        url = (await sqs.create_queue(QueueName=name, Attributes=wanted))["QueueUrl"]
        return url, f"queue {name}: {_word(made=True)}"
    has = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    differing = {key: value for key, value in wanted.items() if not _same(has.get(key), value)}
    if differing:
        await sqs.set_queue_attributes(QueueUrl=url, Attributes=differing)
    return url, f"queue {name}: {_word(corrected=bool(differing))}"


def _same(has: str | None, wanted: str) -> bool:
    """Attributes are texts, one of them JSON with spaces wherever the server likes; numbers are JSON, too."""
    return has is not None and json.loads(has) == json.loads(wanted)


def _word(made: bool = False, corrected: bool = False) -> str:
    return "made" if made else "corrected" if corrected else "as it should be"


def told(resources: Resources, access: Access) -> Iterator[str]:
    """Provision, for a person: what was done, line by line; a ClickException says why it could not be."""
    try:
        yield from asyncio.run(provision(resources, access))
    except (ClientError, BotoCoreError) as error:
        raise click.ClickException(
            f"{access.endpoint_url}: {error}. Is the stack running? `make stack` starts it."
        ) from error


@click.command()
@click.option("--endpoint-url", default=ENDPOINT_URL, show_default=True, help="Where the local stack answers.")
@click.option("--region", default=REGION, show_default=True, help="The region that it is to play.")
def main(endpoint_url: str, region: str) -> None:
    """Make what resources.toml names in a local stack."""
    for line in told(read_resources(), Access(endpoint_url, region)):
        click.echo(line)


if __name__ == "__main__":
    main()
