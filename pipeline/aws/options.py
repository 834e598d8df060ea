"""How to reach AWS, or a server with its protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """The service's address, the credentials, time-outs and retries. Its repr shows no secret.

    Values that are None are found as AWS's own tools find them: in the environment, profile or role. Without any
    `endpoint_url` the server is AWS itself; with one, the region falls back to us-east-1.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    max_connections: int = 32
    """At least the number of concurrent requests: with fewer, requests silently wait for each other."""
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0
    """Between two bytes, not for a whole body. Some stores take 10 s for a contended conditional put."""

    tries: int = 8
    """Tries of one request, including the first."""
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 20.0
    """The wait before try n is random below first_wait · 2ⁿ⁻², and below this limit: on average 13 s over 8 tries."""

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigurationError("an access key id and a secret access key belong together; set both, or neither")
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if self.tries < 1 or self.max_connections < 1:
            raise ConfigurationError("the numbers of tries and of connections must be 1 or more")


def _check_endpoint(url: str) -> None:
    """Refuse an invalid endpoint, without repeating a URL that may hold a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError("the endpoint URL must not hold a user or password; set the access key separately")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"the endpoint URL {url!r} is not valid; write it as https://host:port")
