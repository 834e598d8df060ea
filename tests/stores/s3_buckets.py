"""Buckets for tests, on any server, opened with few and short waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from secrets import token_hex
from typing import Any

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.stores.s3.object_store import MIN_PART_BYTES, S3ObjectStore, open_s3_store
from tests.aws.fault_proxy import FaultProxy, fault_proxy
from tests.servers.addresses import S3Server


def options_for(server: S3Server, **changes: Any) -> AwsOptions:
    """Return the options for this server, with few and short waits."""
    settings: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "tries": 4,
        "first_wait_seconds": 0.01,
        "longest_wait_seconds": 0.1,
        "read_timeout_seconds": 30.0,
    }
    return AwsOptions(**{**settings, **changes})


@asynccontextmanager
async def bare_client(server: S3Server) -> AsyncIterator[Any]:
    """Open a plain client, to inspect what the store left."""
    async with open_client("s3", options_for(server), s3={"addressing_style": "path"}) as client:
        yield client


async def new_bucket(server: S3Server) -> str:
    """Create an empty bucket with a random name, and return the name."""
    name = f"bucket-{token_hex(6)}"
    async with bare_client(server) as client:
        await client.create_bucket(Bucket=name)
    return name


_SHARED: dict[str, str] = {}


async def shared_bucket(server: S3Server) -> str:
    """Return the name of a bucket that tests share, each under its own prefix."""
    if server.endpoint_url not in _SHARED:
        _SHARED[server.endpoint_url] = await new_bucket(server)
    return _SHARED[server.endpoint_url]


@asynccontextmanager
async def opened(server: S3Server, bucket: str, **changes: Any) -> AsyncIterator[S3ObjectStore]:
    """Open a store in `bucket`. Changes that are fields of AwsOptions go there, the others to `open_s3_store`."""
    names = AwsOptions.__dataclass_fields__
    aws = options_for(server, **{name: value for name, value in changes.items() if name in names})
    others = {name: value for name, value in changes.items() if name not in names}
    async with open_s3_store(bucket, aws=aws, path_style=True, **others) as store:
        yield store


def through(server: S3Server, proxy: FaultProxy) -> S3Server:
    """Return the server's address through a proxy."""
    return replace(server, endpoint_url=proxy.url)


@asynccontextmanager
async def faulty(server: S3Server) -> AsyncIterator[tuple[S3ObjectStore, FaultProxy]]:
    """Open an empty store behind a proxy that has no faults yet."""
    bucket, prefix = await shared_bucket(server), token_hex(8)
    async with (
        fault_proxy(server.endpoint_url) as proxy,
        opened(through(server, proxy), bucket, prefix=prefix, upload_part_bytes=MIN_PART_BYTES, probe=False) as store,
    ):
        yield store, proxy
