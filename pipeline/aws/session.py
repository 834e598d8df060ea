"""Opens aiobotocore clients. asyncio only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader

from pipeline.aws.errors import Request, translated
from pipeline.aws.options import AwsOptions
from pipeline.domain.errors import ConfigurationError

_FALLBACK_REGION = "us-east-1"
"""For servers other than AWS: they accept any region, but a request cannot be signed without one."""


@asynccontextmanager
async def open_client(service: str, options: AwsOptions, **config: Any) -> AsyncIterator[Any]:
    """Open a client of `service` ("s3" or "sqs"); `config` is passed to botocore's Config.

    botocore's own retries are off, because `pipeline.aws.retries` is the one layer that repeats requests. Callers wrap
    the client's methods in `pipeline.aws.errors.translated`, and give the client its type.
    """
    with translated(Request(f"use {service}", place=options.endpoint_url or "AWS")):
        session: Any = get_session()  # its stubs have an overload for each of 400 services, and none for str
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        region = options.region or session.get_config_variable("region")
        opening = session.create_client(
            service,
            region_name=region or (_FALLBACK_REGION if options.endpoint_url else None),
            endpoint_url=options.endpoint_url,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            config=AioConfig(
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=options.max_connections,
                connect_timeout=options.connect_timeout_seconds,
                read_timeout=options.read_timeout_seconds,
                **config,
            ),
        )
        try:
            client = await opening.__aenter__()
        except BotoCoreError:
            raise
        except ValueError as error:  # botocore's own check of the endpoint
            raise ConfigurationError(f"cannot use {service}: {error}; correct aws_endpoint_url") from error
    try:
        yield client
    finally:
        await opening.__aexit__(None, None, None)


@lru_cache(maxsize=1)
def _loader(data_path: str | None) -> Loader:
    """The service descriptions, read once a process: the first client takes 75 ms, the others 5 ms."""
    return create_loader(data_path)
