"""Who makes a request: from a bearer token, the cookie of the dashboard, or a proxy that is trusted."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from pipeline.domain.ids import decode_name
from pipeline.http.problems import ProblemError
from pipeline.http.site import ProxyAuth, Site, site_of
from pipeline.http.tokens import SESSION_MARK, Identity, Role, Side

COOKIE = "pipeline_token"
START_NAME = "start-up token"


async def identify(connection: HTTPConnection) -> Identity | None:
    """Return who makes this request, or None when nothing says so."""
    site = site_of(connection)
    text = bearer_token(connection) or connection.cookies.get(COOKIE)
    if text and site.oidc is not None and text.startswith(SESSION_MARK):
        from pipeline.http.oidc.sessions import open_session  # it needs the extra `oidc`

        return await open_session(site, text)
    if text:
        return await identify_token(site, text)
    return _from_proxy(connection, site.proxy) if site.proxy else None


async def identify_token(site: Site, text: str) -> Identity | None:
    """Return whose token this is, or None."""
    if site.start_token is not None and hmac.compare_digest(site.start_token.encode(), text.encode()):
        return Identity(START_NAME, Role.ADMIN)
    return await site.tokens.identify(text)


def bearer_token(connection: HTTPConnection) -> str | None:
    """Return the token of the header `Authorization`, if it has one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def require(role: Role) -> Callable[[Request], Awaitable[Identity]]:
    """Return a dependency that lets people with this role through, and gives who it is."""

    async def check(request: Request) -> Identity:
        identity = await known(request)
        if not identity.may(role):
            raise ProblemError(HTTPStatus.FORBIDDEN, f"This needs the role {role}; {identity.name} is {identity.role}.")
        return identity

    return check


def require_app(side: Side) -> Callable[[Request, str], Awaitable[Identity]]:
    """Return a dependency that lets the app of this side of the Flow in the path through."""

    async def check(request: Request, flow: str) -> Identity:
        identity = await known(request)
        if identity.role is not Role.APP or identity.flow != decode_name(flow) or identity.side is not side:
            raise ProblemError(HTTPStatus.FORBIDDEN, f"This needs the token of the {side} of Flow {flow!r}.")
        return identity

    return check


async def known(request: Request) -> Identity:
    """Return who makes this request. ProblemError when nothing says so."""
    identity = await identify(request)
    if identity is None:
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "Give a token that is valid: Authorization: Bearer TOKEN. `pipeline token create` makes one.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return identity


def _from_proxy(connection: HTTPConnection, proxy: ProxyAuth) -> Identity | None:
    peer = connection.client.host if connection.client else ""
    try:
        trusted = any(ip_address(peer) in ip_network(network) for network in proxy.networks)
    except ValueError:
        return None
    names = connection.headers.getlist(proxy.user_header)
    roles = connection.headers.getlist(proxy.role_header)
    if not trusted or len(names) != 1 or not names[0] or len(roles) > 1:
        return None
    try:
        role = Role(roles[0]) if roles else Role.VIEWER
    except ValueError:
        return None
    return None if role is Role.APP else Identity(names[0], role)


Viewer = Annotated[Identity, Depends(require(Role.VIEWER))]
Operator = Annotated[Identity, Depends(require(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(require(Role.ADMIN))]
