"""Creates the bucket and the queues of `resources.toml` in a local stack, and corrects those that differ.

    python -m localstack.provision --endpoint-url http://127.0.0.1:4566 --region us-east-1

Running it again changes nothing. It never deletes a bucket, object, queue or message. It uses fixed test credentials,
which a local stack accepts, so it cannot change an AWS account by accident.
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
"""So that an absent stack is reported soon."""


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a local stack, and credentials for it."""

    endpoint_url: str = ENDPOINT_URL
    region: str = REGION
    access_key_id: str = "test"
    secret_access_key: str = "test"

    def s3(self) -> AbstractAsyncContextManager[S3Client]:
        """Return a context manager that opens an S3 client."""
        return get_session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=AioConfig(s3={"addressing_style": "path"}, retries=_RETRIES, read_timeout=30),
        )

    def sqs(self) -> AbstractAsyncContextManager[SQSClient]:
        """Return a context manager that opens an SQS client."""
        return get_session().create_client(
            "sqs",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=AioConfig(retries=_RETRIES, read_timeout=30),
        )


async def provision(resources: Resources, access: Access) -> list[str]:
    """Create and correct all resources; return a line for each: "created", "corrected" or "unchanged".

    Raises ClientError or BotoCoreError.
    """
    async with access.s3() as s3, access.sqs() as sqs:
        done = await provision_bucket(s3, resources.bucket, access.region)
        for queue in resources.queues:
            done += await provision_queue(sqs, queue)
        return done


async def provision_bucket(s3: S3Client, bucket: Bucket, region: str) -> list[str]:
    """Create the bucket and its rule for stale uploads."""
    created = not await _has_bucket(s3, bucket.name)
    if created and region == "us-east-1":  # S3 takes no location there, and requires one everywhere else
        await s3.create_bucket(Bucket=bucket.name)
    elif created:
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
    return [f"bucket {bucket.name}: {_word(created, corrected)}"]


async def provision_queue(sqs: SQSClient, queue: Queue) -> list[str]:
    """Create the dead-letter queue, and then the queue, which names it."""
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
    """Return after how many days the bucket's rule removes stale uploads; None without a rule."""
    try:
        found = await s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return None
        raise
    rules = [rule for rule in found["Rules"] if rule.get("ID") == _RULE and rule["Status"] == "Enabled"]
    return rules[0]["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation") if rules else None


async def _queue(sqs: SQSClient, name: str, wanted: Mapping[QueueAttributeNameType, str]) -> tuple[str, str]:
    """Create or correct one queue; return its URL and a line about it."""
    try:
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        url = (await sqs.create_queue(QueueName=name, Attributes=wanted))["QueueUrl"]
        return url, f"queue {name}: {_word(created=True)}"
    has = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    differing = {key: value for key, value in wanted.items() if not _same(has.get(key), value)}
    if differing:
        await sqs.set_queue_attributes(QueueUrl=url, Attributes=differing)
    return url, f"queue {name}: {_word(corrected=bool(differing))}"


def _same(has: str | None, wanted: str) -> bool:
    """Whether two attributes are equal as JSON: a policy's spaces depend on the server, and numbers are JSON, too."""
    return has is not None and json.loads(has) == json.loads(wanted)


def _word(created: bool = False, corrected: bool = False) -> str:
    return "created" if created else "corrected" if corrected else "unchanged"


def report_provision(resources: Resources, access: Access) -> Iterator[str]:
    """Provision, and yield a line for each resource. ClickException says why it failed."""
    try:
        yield from asyncio.run(provision(resources, access))
    except (ClientError, BotoCoreError) as error:
        raise click.ClickException(
            f"cannot set up the stack at {access.endpoint_url}: {error}. If it does not run, `make stack` starts it."
        ) from error


@click.command()
@click.option("--endpoint-url", default=ENDPOINT_URL, show_default=True, help="The address of the local stack.")
@click.option("--region", default=REGION, show_default=True, help="The region of the bucket and the queues.")
def main(endpoint_url: str, region: str) -> None:
    """Create the resources of resources.toml in a local stack."""
    for line in report_provision(read_resources(), Access(endpoint_url, region)):
        click.echo(line)


if __name__ == "__main__":
    main()
