"""Opens aiobotocore clients. asyncio only."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader

from pipeline.aws.errors import Request, translated
from pipeline.aws.options import AwsOptions
from pipeline.domain.errors import ConfigurationError

_FALLBACK_REGION = "us-east-1"
"""For servers other than AWS: they accept any region, but a request cannot be signed without one."""


def resolved_options(service: str, options: AwsOptions) -> AwsOptions:
    """Return the options with a missing endpoint or region filled in from AWS's environment variables or profile.

    A store or queue must know its server: servers other than AWS behave differently, and errors name the server.
    """
    with translated(Request(f"use {service}", place=options.endpoint_url or "AWS")):
        session: Any = get_session()
        endpoint = options.endpoint_url
        if endpoint is None and not session.get_config_variable("ignore_configured_endpoint_urls"):
            endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service).provide()
        region = options.region or session.get_config_variable("region")
        return replace(options, endpoint_url=endpoint, region=region or (_FALLBACK_REGION if endpoint else None))


@asynccontextmanager
async def open_client(service: str, options: AwsOptions, **config: Any) -> AsyncIterator[Any]:
    """Open a client of `service` ("s3" or "sqs"); `config` is passed to botocore's Config.

    botocore's own retries are off, because `pipeline.aws.retries` is the one layer that repeats requests. Callers wrap
    the client's methods in `pipeline.aws.errors.translated`, and give the client its type.
    """
    with translated(Request(f"use {service}", place=options.endpoint_url or "AWS")):
        session: Any = get_session()  # its stubs have an overload for each of 400 services, and none for str
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        _check_ca_bundle(session.get_config_variable("ca_bundle"))
        options = resolved_options(service, options)
        opening = session.create_client(
            service,
            region_name=options.region,
            endpoint_url=options.endpoint_url,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            config=AioConfig(
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=options.max_connections,
                connect_timeout=options.connect_timeout_seconds,
                read_timeout=options.read_timeout_seconds,
                http_session_cls=_SignedRequests,
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


class _SignedRequests(AIOHTTPSession):
    """Leaves redirects to botocore, which signs the request again for the bucket's region.

    aiohttp would follow them itself, without credentials, and the error would be about a missing permission.
    """

    async def _get_session(self, proxy_url: str | None) -> Any:
        return _WithoutRedirects(await super()._get_session(proxy_url))  # type: ignore[misc]  # its stubs leave it out


class _WithoutRedirects:
    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self._session.request(*arguments, allow_redirects=False, **options)


def _check_ca_bundle(path: str | None) -> None:
    """Refuse a bundle that cannot be read: the client would report it as a network error without the file's name."""
    if not path:
        return
    try:
        is_directory = Path(path).is_dir()
        ssl.create_default_context(cafile=None if is_directory else path, capath=path if is_directory else None)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"the CA bundle {path} cannot be used: {why}; correct AWS_CA_BUNDLE, or ca_bundle in ~/.aws/config"
        ) from error
