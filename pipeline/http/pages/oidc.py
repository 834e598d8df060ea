"""Logging in with OpenID Connect: to the provider, and back with a code."""

from __future__ import annotations

import hmac
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import aiohttp
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from pipeline.domain.errors import RefusedError
from pipeline.http.access import COOKIE
from pipeline.http.oidc.provider import LogIn, Provider
from pipeline.http.oidc.sessions import LIFE, Sealer, begin_session
from pipeline.http.pages.rendering import page
from pipeline.http.problems import ProblemError
from pipeline.http.site import OidcAuth, Site, site_of
from pipeline.log_events import log

LOGIN_COOKIE = "pipeline_login"
LOGIN_LIFE = timedelta(minutes=10)
PATH = "/login/oidc"

router = APIRouter(prefix=PATH, include_in_schema=False)


@router.get("")
async def ask_provider(request: Request) -> Response:
    """Send a person to the provider."""
    site, auth = _of(request)
    log_in = LogIn.new()
    async with aiohttp.ClientSession() as client:
        url = (await Provider.find(auth, client)).log_in_url(log_in, _callback(site))
    claims = {"state": log_in.state, "nonce": log_in.nonce, "verifier": log_in.verifier}
    sealed = (await Sealer.of(site)).seal("login", claims, LOGIN_LIFE)
    answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
    # lax: the provider sends the browser back from another site
    answer.set_cookie(
        LOGIN_COOKIE, sealed, httponly=True, samesite="lax", secure=site.secure, path=f"{site.root}{PATH}"
    )
    return answer


@router.get("/callback")
async def come_back(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Take the code of a person who comes back from the provider, and log them in."""
    site, auth = _of(request)
    claims = (await Sealer.of(site)).open("login", request.cookies.get(LOGIN_COOKIE, ""))
    if claims is None or not hmac.compare_digest(claims["state"].encode(), state.encode()):
        raise ProblemError(HTTPStatus.FORBIDDEN, "This log-in was not begun here, or is over. Log in again.")
    if error or not code:
        raise ProblemError(HTTPStatus.FORBIDDEN, f"The provider has not logged you in: {error or 'it sent no code'}.")
    log_in = LogIn(claims["state"], claims["nonce"], claims["verifier"])
    async with aiohttp.ClientSession() as client:
        provider = await Provider.find(auth, client)
        try:
            who = await provider.identify(code, log_in, _callback(site), site.clock.now())
        except RefusedError as refused:
            log.warning("log_in_refused", reason=str(refused))
            raise ProblemError(HTTPStatus.FORBIDDEN, str(refused)) from refused
    log.info("logged_in", name=who.name, role=who.role.value)
    # a page, not a redirect: the strict cookie is not sent on the way from the provider's site
    answer = page("logged_in", None)
    answer.delete_cookie(LOGIN_COOKIE, path=f"{site.root}{PATH}")
    answer.set_cookie(
        COOKIE,
        await begin_session(site, who),
        max_age=int(LIFE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=site.secure,
        path=f"{site.root}/",
    )
    return answer


def _of(request: Request) -> tuple[Site, OidcAuth]:
    site = site_of(request)
    assert site.oidc is not None, "the application has these routes with a provider alone"
    return site, site.oidc


def _callback(site: Site) -> str:
    return f"{site.public_url.rstrip('/')}{PATH}/callback"
