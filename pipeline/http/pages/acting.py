"""The pages that act: the verbs of a Flow, and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from pipeline.domain.errors import ConfigurationError
from pipeline.http.api.paths import FlowPath
from pipeline.http.api.tokens import MOST_SCOPES, TokenRequest, make, revoke
from pipeline.http.api.verbs import Asked, act
from pipeline.http.pages.actions import ACTIONS
from pipeline.http.pages.rendering import page, segment
from pipeline.http.pages.session import Admin, Operator, form_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of
from pipeline.http.tokens import LONGEST_LIFE, Identity, Role, Side, Token

router = APIRouter(include_in_schema=False)


@router.post("/flows/{flow}/actions")
async def act_page(request: Request, who: Operator, flow: FlowPath) -> Response:
    """Do a verb; one that has a question asks first."""
    form = await form_of(request)
    action = ACTIONS.get(form.get("verb", ""))
    if action is None:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such action.")
    if action.question and form.get("sure") != "yes":
        return page("confirm", who, flow=flow, action=action)
    await act(site_of(request), who, flow, action.verb, Asked(form.get("reason", "")[:500]))
    return RedirectResponse(f"/flows/{segment(flow)}", HTTPStatus.SEE_OTHER)


@router.get("/tokens")
async def tokens_page(request: Request, who: Admin) -> Response:
    """Show all tokens."""
    return await _tokens(request, who)


@router.post("/tokens")
async def make_token(request: Request, who: Admin) -> Response:
    """Make a token, and show it once."""
    form = await form_of(request)
    try:
        made, text = await make(site_of(request), who, _wanted(form))
    except ConfigurationError as error:
        return await _tokens(request, who, problem=str(error), status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return await _tokens(request, who, made=made, text=text)


def _wanted(form: Mapping[str, str]) -> TokenRequest:
    days, role, side = form.get("days") or "90", form.get("role", ""), form.get("side", "")
    if role not in list(Role) or side not in ("", *Side) or not days.isdecimal():
        raise ConfigurationError("Choose a role, and a side for an app, and write the days as a whole number.")
    if not 0 < int(days[:9]) <= LONGEST_LIFE.days:
        raise ConfigurationError(f"A token lives from one to {LONGEST_LIFE.days:,} days.")
    listed = form.get("scopes", "").strip()
    scopes = [one.strip() for one in listed.split(",")] if listed else []
    if len(scopes) > MOST_SCOPES:
        raise ConfigurationError(f"A token has at most {MOST_SCOPES} scopes.")
    return TokenRequest(
        role=Role(role),
        name=form.get("name", "")[:200] or "no name",
        days=int(days),
        flow=form.get("flow", "")[:1000],
        side=Side(side) if side else None,
        scopes=scopes,
    )


@router.post("/tokens/{token}/revoke")
async def revoke_token(request: Request, who: Admin, token: str) -> Response:
    """Revoke a token."""
    await revoke(site_of(request), who, token)
    return RedirectResponse("/tokens", HTTPStatus.SEE_OTHER)


async def _tokens(
    request: Request,
    who: Identity,
    *,
    made: Token | None = None,
    text: str = "",
    problem: str = "",
    status: int = HTTPStatus.OK,
) -> Response:
    tokens = await site_of(request).tokens.list_tokens()
    return page("tokens", who, status=status, tokens=tokens, made=made, text=text, problem=problem)
