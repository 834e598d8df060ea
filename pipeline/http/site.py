"""What every route works with: the open store, the tokens, and the event that ends streams."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import anyio
from starlette.requests import HTTPConnection

from pipeline.assembly.commands.observation.fleet import FleetGauges
from pipeline.assembly.commands.observation.listings import Listings
from pipeline.assembly.commands.observation.signs import Signs
from pipeline.assembly.runtime import Runtime
from pipeline.http.contents import Contents
from pipeline.http.feeds import Feeds
from pipeline.http.live import LiveParts
from pipeline.http.tokens import TokenStore
from pipeline.ports.clock import Clock

LOOPBACK_NAMES = ("localhost",)
"""Names that a browser may have for this machine. Addresses are always allowed: no name server can change them."""


ROOT = ContextVar("root", default="")
"""The path below which the browser of the present request reaches the server: empty, or such as `/pipeline`."""

CACHED_ENTRIES = 200_000
"""Entries of File Lists that a server keeps in memory, so that its pages read them once: some 100 MB."""


@dataclass(frozen=True, slots=True)
class ProxyAuth:
    """A proxy that has identified the user: its networks, and the headers with the user's name and role."""

    networks: Sequence[str]
    user_header: str = "x-forwarded-user"
    role_header: str = "x-forwarded-role"


@dataclass(frozen=True, slots=True)
class OidcAuth:
    """A provider of OpenID Connect, and this server as its client.

    `role_claim` is the claim with the roles of a person, a list or words: viewer, operator or admin.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    role_claim: str = "roles"
    scope: str = "openid email profile"


@dataclass(frozen=True, slots=True)
class PlatformProfile:
    """The public app-migration platform's paths are served. `created_at` is the unit of `createdAt`, which is not documented.

    With a `secret`, events are signed as Connect apps expect them; with an `app_id`, as Forge apps do.
    """

    created_at: Literal["milliseconds", "seconds"] = "milliseconds"
    secret: str = field(default="", repr=False)
    app_id: str = ""

    @property
    def signs(self) -> bool:
        """Whether events are signed."""
        return bool(self.secret or self.app_id)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of requests. Sizes are in bytes, times in seconds."""

    body_bytes: int = 1 << 20
    report_bytes: int = 8 << 20
    """Of JSON that an app sends: streams with their columns, reports of many files."""
    upload_bytes: int = 25 << 30
    silent_seconds: float = 30.0
    """A body of which nothing comes for so long is given up."""
    header_seconds: float = 10.0
    """The header of a request must be complete after so long."""
    connections: int = 10_000
    """Beyond, a request is answered with 503."""


@dataclass(frozen=True, slots=True)
class Site:
    """One server. `stopping` is set when it shuts down, so that streams end.

    `public_url` is what a browser calls this server, if a proxy is in front: the proxy may serve it below a path.
    """

    runtime: Runtime
    tokens: TokenStore
    clock: Clock
    start_token: str | None = None
    hosts: frozenset[str] = frozenset(LOOPBACK_NAMES)
    public_url: str = ""
    proxy: ProxyAuth | None = None
    oidc: OidcAuth | None = None
    platform: PlatformProfile | None = None
    limits: Limits = Limits()
    fleet: FleetGauges | None = None
    """The gauges of `/metrics`."""
    stopping: anyio.Event = field(default_factory=anyio.Event)
    feeds: Feeds = field(init=False)
    live: LiveParts = field(default_factory=LiveParts)
    comparing: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while a page compares both places of a Flow: one at a time."""
    contents: Contents = field(init=False)
    listings: Listings = field(init=False)
    signs: Signs = field(init=False)

    @property
    def root(self) -> str:
        """The path below which browsers reach this server."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether browsers reach this server by HTTPS alone."""
        return urlsplit(self.public_url).scheme == "https"

    def __post_init__(self) -> None:
        object.__setattr__(self, "feeds", Feeds(self.runtime))
        self.runtime.flows.file_lists.max_cached_entries = CACHED_ENTRIES
        object.__setattr__(self, "contents", Contents(self.runtime.store))
        object.__setattr__(self, "listings", Listings(self.runtime))
        object.__setattr__(self, "signs", Signs(self.runtime.flows))


def site_of(connection: HTTPConnection) -> Site:
    """Return the site of the application that serves this request."""
    site = connection.app.state.site
    assert isinstance(site, Site)
    return site
