"""Logging in and out: a token becomes the cookie of the dashboard, and is never left in an address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from pipeline.http.access import COOKIE, identify, identify_token
from pipeline.http.pages.rendering import page
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Role

MOST_FIELDS = 100

router = APIRouter(include_in_schema=False)


class LogInError(Exception):
    """A page needs a person who has logged in."""


async def viewer(request: Request) -> Identity:
    """Return who looks at a page. LogInError when nobody has logged in."""
    identity = await identify(request)
    if identity is None or identity.role is Role.APP:
        raise LogInError
    return identity


def needs(role: Role) -> Callable[[Request], Awaitable[Identity]]:
    """Return a dependency of a page: it gives the person, or refuses one without this role."""

    async def check(request: Request) -> Identity:
        identity = await viewer(request)
        if not identity.may(role):
            raise ProblemError(HTTPStatus.FORBIDDEN, f"This needs the role {role}; {identity.name} is {identity.role}.")
        return identity

    return check


Viewer = Annotated[Identity, Depends(viewer)]
Operator = Annotated[Identity, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(needs(Role.ADMIN))]


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of several with one name, the first. ProblemError when there are too many."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"A form has at most {MOST_FIELDS} fields.") from None
    return {name: values[0] for name, values in fields.items()}


@router.get("/login")
async def login(request: Request) -> Response:
    """Ask for a token, or lead to the provider of OpenID Connect."""
    return page("login", None, wrong=False, provider=_provider(site_of(request)))


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Take a token."""
    form = await form_of(request)
    return await take_token(site_of(request), form.get("token", ""))


async def take_token(site: Site, token: str) -> Response:
    """Return the answer to a person who gives a token: the dashboard, with the token as its cookie."""
    identity = await identify_token(site, token)
    if identity is None or identity.role is Role.APP:
        return page("login", None, status=HTTPStatus.FORBIDDEN, wrong=True, provider=_provider(site))
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=site.secure, path=f"{site.root}/")
    return answer


def _provider(site: Site) -> str:
    return (urlsplit(site.oidc.issuer).hostname or "") if site.oidc else ""


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path=f"{site_of(request).root}/")
    return answer
