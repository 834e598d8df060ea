"""Opens aiobotocore clients. asyncio only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.loaders import Loader, create_loader

from pipeline.aws.errors import Request, translated
from pipeline.aws.options import AwsOptions
from pipeline.domain.errors import ConfigurationError

_FALLBACK_REGION = "us-east-1"
"""What servers that are not AWS take for their region, as long as it is signed for."""


@asynccontextmanager
async def open_client(service: str, options: AwsOptions, **config: Any) -> AsyncIterator[Any]:
    """Open a client of `service` ("s3", "sqs"); `config` goes to botocore's Config as it is.

    botocore's own retries are off: `pipeline.aws.retries` is the one layer that tries again. The caller gives the
    client its type. Foreign errors of its methods are for `pipeline.aws.errors.translated`.
    """
    with translated(Request(f"make ready to use {service}", place=options.endpoint_url or "AWS")):
        session: Any = get_session()  # its stubs overload four hundred services, and no name of type str
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
        except ValueError as error:  # of an endpoint that only botocore sees through
            raise ConfigurationError(f"cannot make ready to use {service}: {error}; mend that value") from error
    try:
        yield client
    finally:
        await opening.__aexit__(None, None, None)


@lru_cache(maxsize=1)
def _loader(data_path: str | None) -> Loader:
    """The descriptions of services, read once a process: 75 ms for the first client, 5 ms for all others."""
    return create_loader(data_path)
