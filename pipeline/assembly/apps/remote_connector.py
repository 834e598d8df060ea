"""The connector of apps over HTTP, which have URLs with the scheme `app`."""

from __future__ import annotations

import importlib
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

from pipeline.connectors.locations import Location, split_url
from pipeline.connectors.registry import Connector, ReadOptions
from pipeline.domain.errors import ConfigurationError
from pipeline.kit.configuration.secret import Secret
from pipeline.ports.source import Source

SCHEME = "app"
_NAME = re.compile(r"app://([A-Za-z0-9][A-Za-z0-9._-]{0,99})/?")


def _read(url: str) -> Location:
    match = _NAME.fullmatch(url)
    if match is None:
        raise ConfigurationError(
            f"{url[:200]!r} names no app. Write app://NAME, with letters, digits, dots, hyphens and underscores."
        )
    return Location(SCHEME, f"{SCHEME}://{match[1]}", short_name=match[1])


def _remote(module: str) -> Any:
    return importlib.import_module(f"pipeline.remote.{module}")


APP = Connector(
    name="app over HTTP",
    schemes=(SCHEME,),
    is_database=True,
    read=_read,
    source=lambda location, options: _remote("uploaded").UploadedSource(location.url),
    destination=lambda location: _remote("pulled").PulledDestination(location.url),
)


_REFERENCES = ("secret", "token")


def _read_service(url: str) -> Location:
    """Read the URL of a service. Its query may have `secret` and `token`, which are references to secrets."""
    parts = split_url(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not parts.hostname or parts.username or parts.fragment:
        raise ConfigurationError(
            "The URL of a service that is pushed to has a host, and neither a user nor a fragment: https://HOST/PATH. Give "
            "secrets as ?token=env:NAME or ?secret=env:NAME."
        )
    for name in _REFERENCES:
        Secret(query.get(name, ""))  # ConfigurationError for one that is given in plain
    return Location(parts.scheme, url, written=url, short_name=parts.hostname)


def _service(location: Location) -> Any:
    parts = split_url(location.written)
    query = parse_qsl(parts.query, keep_blank_values=True)
    plain = urlencode([(name, value) for name, value in query if name not in _REFERENCES])
    references = {name: value for name, value in query if name in _REFERENCES}
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, plain, ""))
    return _remote("pushed").PushedDestination(location.url, url, references)


def _no_source(location: Location, options: ReadOptions) -> Source:
    raise ConfigurationError(
        f"{location.url} is a service that is pushed to: what it holds cannot be read from here. Compare with the means of the app."
    )


SERVICE = Connector(
    name="service over HTTP",
    schemes=("https", "http"),
    is_database=True,
    read=_read_service,
    source=_no_source,
    destination=_service,
    extra="push",
)
