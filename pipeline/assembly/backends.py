"""The adapters that the settings name: the store, and queues. S3 and SQS are imported when they are used: they are an extra."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.queues.sqlite.event_queue import open_sqlite_queue
from pipeline.settings import Settings
from pipeline.stores.directory.object_store import DirectoryObjectStore

if TYPE_CHECKING:
    from types import ModuleType


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[ObjectStore]:
    """Open the bucket, or the embedded store, whose directory is created with the first write."""
    if not settings.store:
        yield DirectoryObjectStore(settings.home / "store")
        return
    parts = urlsplit(settings.store)
    async with open_bucket(parts.netloc, parts.path.strip("/"), settings) as store:
        yield store


def open_bucket(
    bucket: str, prefix: str, settings: Settings, *, probe: bool = True
) -> AbstractAsyncContextManager[ObjectStore]:
    """Open what a bucket has under a prefix. Without `probe`, nothing is written to find out what the server can do."""
    opened: AbstractAsyncContextManager[ObjectStore] = _import_aws("pipeline.stores.s3.object_store").open_s3_store(
        bucket,
        prefix=prefix,
        aws=aws_options(settings),
        path_style=settings.s3_path_style,
        server_side_encryption=settings.s3_server_side_encryption or None,
        kms_key_id=settings.s3_kms_key_id or None,
        probe=probe,
    )
    return opened


@asynccontextmanager
async def open_queue(settings: Settings, name: str) -> AsyncIterator[EventQueue]:
    """Open the queue `sqs://name`, or an embedded one."""
    parts = urlsplit(name)
    if parts.scheme == "sqs":
        sqs = _import_aws("pipeline.queues.sqs.event_queue").open_sqs_queue(
            parts.netloc,
            visibility_seconds=settings.queue_visibility_seconds,
            aws=aws_options(settings, settings.sqs_endpoint_url),
        )
        async with sqs as queue:
            yield queue
        return
    embedded = open_sqlite_queue(
        settings.home / "queue.db",
        name=name,
        visibility_seconds=settings.queue_visibility_seconds,
        max_receives=settings.queue_max_receives,
    )
    async with embedded as queue:
        yield queue


def aws_options(settings: Settings, endpoint_url: str = "") -> object:
    """Return the options of every AWS client. `endpoint_url` overrides the one in the settings."""
    return _import_aws("pipeline.aws.options").AwsOptions(
        endpoint_url=endpoint_url or settings.aws_endpoint_url or None,
        region=settings.aws_region or None,
        access_key_id=settings.aws_access_key_id or None,
        secret_access_key=settings.aws_secret_access_key or None,
        max_connections=settings.aws_max_connections,
    )


def _import_aws(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"s3:// and sqs:// need {error.name}. Install it with: pip install 'app-data-pipeline[s3]'"
        ) from error
