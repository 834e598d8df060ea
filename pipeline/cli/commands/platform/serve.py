"""`pipeline serve`: the HTTP API and the dashboard."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from pipeline.assembly.runtime import share_runtime
from pipeline.cli.options import common_options, prepare, run_async
from pipeline.cli.signals import end_at_once, set_at_signal
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.settings import Settings

if TYPE_CHECKING:
    import socket
    from urllib.parse import SplitResult

    from pipeline.http.site import OidcAuth, PlatformProfile, ProxyAuth

DEFAULT_PORT = 8765
OWN_PATHS = frozenset(
    {
        *("api", "app", "approvals", "flows", "healthz", "login", "logout", "metrics"),
        *("notifications", "readyz", "rest", "static", "tokens", "wiki", "workers"),
    }
)
"""What the server's own paths begin with: a request for one of them would be taken for one below the public URL."""


@dataclass(frozen=True, slots=True)
class _Options:
    host: str
    port: int
    auth: str | None
    token_file: Path | None
    hosts: tuple[str, ...]
    networks: tuple[str, ...]
    public_url: str | None
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret: str | None
    oidc_role_claim: str
    profile: str | None
    profile_created_at: str
    profile_secret: str | None
    profile_app_id: str | None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port to listen on; 0: a free one.",
)
@click.option(
    "--auth",
    type=click.Choice(["token", "proxy", "oidc"]),
    help="How people are identified: by tokens of `pipeline token`, by a proxy in front, or by a provider of "
    "OpenID Connect. Needed for an address that other machines can reach.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the start-up token to FILE, readable for its owner alone, and do not print it.",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name that the server has. May be given repeatedly."
)
@click.option(
    "--proxy-network",
    "networks",
    multiple=True,
    metavar="CIDR",
    help="With --auth proxy: where the proxy is, such as 10.0.0.5/32. It sets X-Forwarded-User and X-Forwarded-Role.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="What browsers call this server, if a proxy is in front: such as https://move.example.org, or with a path, below "
    "which the proxy serves it. Needed for oidc.",
)
@click.option("--oidc-issuer", metavar="URL", help="With --auth oidc: the provider, exactly as it names itself.")
@click.option("--oidc-client-id", metavar="ID", help="What the provider calls this server.")
@click.option(
    "--oidc-client-secret", metavar="REFERENCE", help="Where the secret of this client is: env:NAME or file:PATH."
)
@click.option(
    "--oidc-role-claim",
    default="roles",
    show_default=True,
    metavar="CLAIM",
    help="The claim with the roles of a person: viewer, operator or admin.",
)
@click.option(
    "--profile",
    type=click.Choice(["app-migration"]),
    help="Serve the paths of the public app-migration platform too, so that an app that is written for it can be tried.",
)
@click.option(
    "--profile-created-at",
    type=click.Choice(["milliseconds", "seconds"]),
    default="milliseconds",
    show_default=True,
    help="The unit of createdAt in events of the profile, of which the documents disagree.",
)
@click.option(
    "--profile-secret",
    metavar="REFERENCE",
    help="With --profile: sign events as Connect does, with the secret that is there: env:NAME or file:PATH.",
)
@click.option(
    "--profile-app-id",
    metavar="ID",
    help="With --profile: sign events as Forge does, for the app of this id. Its key is at /.well-known/jwks.json.",
)
@common_options
def serve(home: Path | None, config: Path | None, **given: object) -> None:
    """Serve the HTTP API, the dashboard and metrics until stopped.

    Any number of servers may run over one bucket. Without --auth, the server is reached from this machine alone; a token
    for this run is made and printed as a link. The first SIGTERM, SIGINT or SIGHUP ends it within a second. Exit code:
    0 stopped; 2 wrong usage or settings.
    """
    settings = prepare(home, config, log_level="info")
    options = _Options(**given)  # type: ignore[arg-type]
    try:
        import structlog  # noqa: F401  # else the first event, such as that of the end, takes a tenth of a second

        from pipeline.http.server import allow_connections, bind, is_loopback
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`pipeline serve` needs the package {error.name}. Install it with: pip install 'app-data-pipeline[serve]'"
        ) from error
    if options.auth is None and not is_loopback(options.host):
        raise ConfigurationError(
            f"{options.host} can be reached by other machines. Say how people are identified with --auth token, --auth proxy "
            "or --auth oidc, or listen on 127.0.0.1."
        )
    proxy, oidc, platform, _ = _proxy(options), _oidc(options), _platform(options), _public_names(options)
    allow_connections()
    listening = bind(options.host, options.port)
    run_async(lambda: _run(settings, options, proxy, oidc, platform, listening))
    end_at_once()


def _proxy(options: _Options) -> ProxyAuth | None:
    from ipaddress import ip_network

    from pipeline.http.site import ProxyAuth

    if (options.auth == "proxy") != bool(options.networks):
        raise ConfigurationError("--auth proxy and --proxy-network go together: say where the proxy is.")
    for network in options.networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ConfigurationError(f"--proxy-network {network}: {error}. Write one such as 10.0.0.5/32.") from error
    return ProxyAuth(options.networks) if options.networks else None


def _oidc(options: _Options) -> OidcAuth | None:
    from pipeline.http.server import is_loopback
    from pipeline.http.site import OidcAuth
    from pipeline.kit.configuration.secret import Secret

    needed = {
        "--oidc-issuer": options.oidc_issuer,
        "--oidc-client-id": options.oidc_client_id,
        "--oidc-client-secret": options.oidc_client_secret,
    }
    if options.auth != "oidc":
        if given := [name for name, value in needed.items() if value]:
            raise ConfigurationError(f"{given[0]} is for --auth oidc. Give that as well.")
        return None
    issuer, client_id, secret = map(str, needed.values())
    public_url = options.public_url or ""
    if missing := [name for name, value in {**needed, "--public-url": public_url}.items() if not value]:
        raise ConfigurationError(f"--auth oidc needs {', '.join(missing)}.")
    for name, url in (("--oidc-issuer", issuer), ("--public-url", public_url)):
        found = _url(name, url)
        if found.scheme == "http" and not is_loopback(found.hostname or ""):
            raise ConfigurationError(f"{name} {url} is not encrypted. Give its https:// URL.")
    try:
        import pipeline.http.oidc.provider  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--auth oidc needs the package {error.name}. Install it with: pip install 'app-data-pipeline[oidc]'"
        ) from error
    return OidcAuth(issuer, client_id, Secret(secret).reveal(), options.oidc_role_claim)


def _url(name: str, url: str) -> SplitResult:
    """Return the parts of a URL. ConfigurationError when it is none."""
    from urllib.parse import urlsplit

    try:
        found = urlsplit(url)
        if found.hostname and found.scheme in ("https", "http"):
            return found
    except ValueError:
        pass  # brackets that are no address
    raise ConfigurationError(f"{name} {url!r} is no URL. Write one such as https://login.example.org.")


def _public_names(options: _Options) -> tuple[str, ...]:
    """Return the name in the public URL, if there is one. ConfigurationError when that is no URL of a server."""
    if not options.public_url:
        return ()
    found = _url("--public-url", options.public_url)
    if found.query or found.fragment or re.search(r"[^A-Za-z0-9._~/-]|//|/\.", found.path):
        raise ConfigurationError(
            f"--public-url {options.public_url!r} has more than a name and a path. Write one such as "
            "https://example.org/pipeline, with letters, digits, dots, hyphens and underscores in its path."
        )
    if (first := found.path.strip("/").partition("/")[0]) in OWN_PATHS:
        raise ConfigurationError(
            f"--public-url {options.public_url!r} begins with /{first}, as paths of the server do. Choose another path, such as "
            "https://example.org/pipeline."
        )
    return (found.hostname or "",)


def _platform(options: _Options) -> PlatformProfile | None:
    from pipeline.http.site import PlatformProfile
    from pipeline.kit.configuration.secret import Secret

    signing = {"--profile-secret": options.profile_secret, "--profile-app-id": options.profile_app_id}
    given = [name for name, value in signing.items() if value]
    if options.profile is None:
        if given:
            raise ConfigurationError(f"{given[0]} is for --profile app-migration. Give that as well.")
        return None
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} sign in different ways. Give one of them.")
    try:
        import pipeline.senders.webhook
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--profile needs the package {error.name}. Install it with: pip install 'app-data-pipeline[notify]'"
        ) from error
    if given:
        try:
            import pipeline.http.platform.signing  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"{given[0]} needs the package {error.name}. Install it with: pip install 'app-data-pipeline[oidc]'"
            ) from error
    secret = Secret(options.profile_secret or "").reveal()
    return PlatformProfile(options.profile_created_at, secret, options.profile_app_id or "")  # type: ignore[arg-type]


async def _run(
    settings: Settings,
    options: _Options,
    proxy: ProxyAuth | None,
    oidc: OidcAuth | None,
    platform: PlatformProfile | None,
    listening: socket.socket,
) -> None:
    from pipeline.assembly.commands.observation.fleet import FleetGauges
    from pipeline.assembly.metering.meter import create_meter
    from pipeline.http.server import serve as serve_site
    from pipeline.http.site import LOOPBACK_NAMES, Site
    from pipeline.http.tokens import TokenStore

    stop = anyio.Event()
    start_token = None if options.auth else secrets.token_urlsafe(24)
    meter = create_meter(settings, is_server=True)
    async with share_runtime(settings, meter) as runtime, anyio.create_task_group() as group:
        await group.start(set_at_signal, stop)
        names = (*LOOPBACK_NAMES, options.host, *options.hosts, *_public_names(options))
        tokens = TokenStore(runtime.store, runtime.flows, runtime.clock)
        hosts = frozenset(name.lower() for name in names)
        fleet = FleetGauges(runtime, meter.metrics)
        site = Site(
            runtime,
            tokens,
            runtime.clock,
            start_token,
            hosts,
            public_url=options.public_url or "",
            proxy=proxy,
            oidc=oidc,
            platform=platform,
            fleet=fleet,
        )
        _announce(listening, start_token, options.token_file)
        await serve_site(site, listening, stop)
        group.cancel_scope.cancel()


def _announce(listening: socket.socket, start_token: str | None, token_file: Path | None) -> None:
    """Say where the server is; print the start-up token as a link, or write it to its file."""
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if token_file is not None and start_token is not None:
        _write_secret(token_file, start_token)
    if start_token is None or token_file is not None:
        click.echo(f"Serving on {url}")
    else:
        click.echo(f"Serving on {url}?token={start_token}")


def _write_secret(path: Path, text: str) -> None:
    """Replace a file by one that its owner alone can read."""
    import os

    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        raise RefusedError(f"The token cannot be written to {path}: {error.strerror}.") from error
