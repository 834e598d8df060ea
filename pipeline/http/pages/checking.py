"""The pages before a Movement: checks, and approvals."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from pipeline.domain.flows.approvals import Act, latest_by_side
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import FlowName
from pipeline.engine.control.approvals import read_approvals
from pipeline.http.api.checks import CheckRequest, ReportModel, RevokeRequest, record, run, terms_of_side, withdraw
from pipeline.http.api.paths import FlowPath
from pipeline.http.pages.rendering import page, segment
from pipeline.http.pages.session import Operator, Viewer, form_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of
from pipeline.http.tokens import Role

router = APIRouter(include_in_schema=False)


@router.get("/flows/{flow}/checks")
async def checks_page(request: Request, who: Viewer, flow: FlowPath) -> Response:
    """Show what checks are, and a button that runs them."""
    await site_of(request).runtime.flows.read_flow(flow)
    return page("checks", who, flow=flow, report=None)


@router.post("/flows/{flow}/checks")
async def run_checks(request: Request, who: Operator, flow: FlowPath) -> Response:
    """Run the checks, and show what they found."""
    form = await form_of(request)
    accept = [form["accept"]] if form.get("accept") else []
    wanted = CheckRequest(accept=accept, reason=form.get("reason", "")[:500], quick=form.get("quick") == "yes")
    return page("checks", who, flow=flow, report=ReportModel.of(await run(site_of(request), who.name, flow, wanted)))


@router.get("/flows/{flow}/approvals")
async def approvals_page(request: Request, who: Viewer, flow: FlowPath) -> Response:
    """Show who has approved, and what is to be approved."""
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    acts = await read_approvals(site.runtime.store, flow)
    latest = latest_by_side(acts)
    sides = []
    for side in found.declared.approvals.required:
        act = latest.get(side)
        approved = act is not None and act.act is Act.APPROVE
        sides.append(
            {"side": side.value, "act": act, "approved": approved, "terms": await terms_of_side(site, flow, side)}
        )
    return page("approvals", who, flow=flow, sides=sides, acts=acts, may_act=who.may(Role.OPERATOR))


@router.post("/flows/{flow}/approvals")
async def act(request: Request, who: Operator, flow: FlowPath) -> Response:
    """Approve, or revoke."""
    form, site = await form_of(request), site_of(request)
    side = _side(form.get("side", ""))
    if form.get("act") == "revoke":
        await withdraw(site, who.name, flow, RevokeRequest(side=side, reason=form.get("reason", "")[:500]))
    else:
        await record(site, who.name, flow, side, form.get("text_sha256", ""))
    return RedirectResponse(_page_of(flow), HTTPStatus.SEE_OTHER)


def _side(text: str) -> Side:
    try:
        return Side(text)
    except ValueError:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "The side is source or destination.") from None


def _page_of(flow: FlowName) -> str:
    return f"/flows/{segment(flow)}/approvals"
