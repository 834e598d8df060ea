"""How to reach AWS, or a server that speaks as it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """Where the service is, who asks, and with how much patience. No repr of it shows a secret.

    `endpoint_url` None is AWS itself. Without `access_key_id` the credentials come from where AWS's own tools look for
    them: environment, profile, role. `region` None likewise; with an endpoint of one's own it falls back to us-east-1.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    max_connections: int = 32
    """As many as there are requests at once; with fewer, requests wait for each other without being seen to."""
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0
    """Between two bytes, not for a whole body. Some stores take 10 s to decide a contended conditional put."""

    tries: int = 8
    """Of one request, the first included."""
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 20.0
    """The wait before try n is random up to first_wait · 2ⁿ⁻², and never above this: 13 s over 8 tries, on average."""

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigurationError("an access key id and a secret access key go together; give both, or neither")
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if self.tries < 1 or self.max_connections < 1:
            raise ConfigurationError("at least one try and one connection are needed")


def _check_endpoint(url: str) -> None:
    """Refuse what is no endpoint, without repeating what may hold a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError("the endpoint URL must not hold a user or password; give the access key beside it")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"not an endpoint URL: {url}; write it as https://host:port")
