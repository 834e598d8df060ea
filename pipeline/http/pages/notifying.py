"""The page of notifications: endpoints, what was delivered to each, and what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.assembly.commands.notifications import EndpointStatus, count_pending, list_endpoints
from pipeline.domain.notifications.delivery import Delivered
from pipeline.http.api.reports.notifications import enable, try_out
from pipeline.http.pages.rendering import page
from pipeline.http.pages.session import Operator, Viewer, form_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint in words."""

    name: str
    url: str
    state: str
    tone: str
    why: str
    flows: str
    types: str
    delivered: int
    waiting: int
    given_up: int
    last_delivery: datetime | None
    disabled: bool

    @classmethod
    def of(cls, status: EndpointStatus, waiting: int) -> EndpointRow:
        """Return an endpoint of which `waiting` events are not delivered yet."""
        one, known = status.endpoint, status.deliveries
        state, tone, why = "working", "good", ""
        if one.disabled:
            state, tone, why = "disabled", "bad", one.disabled
        elif known.failing_since is not None:
            state, tone, why = "failing", "warn", known.last_failure
        return cls(
            one.name,
            one.url,
            state,
            tone,
            why,
            ", ".join(one.flows),
            ", ".join(one.types),
            known.delivered,
            waiting,
            len(known.given_up),
            known.last_delivery,
            bool(one.disabled),
        )


@router.get("/notifications")
async def notifications_page(request: Request, who: Viewer) -> Response:
    """Show all endpoints."""
    return await _page(site_of(request), who)


@router.post("/notifications")
async def act(request: Request, who: Operator) -> Response:
    """Enable or disable an endpoint, or send a test to it."""
    site, form = site_of(request), await form_of(request)
    name = form.get("endpoint", "")
    match form.get("do"):
        case "test":
            answer = await try_out(site, who, name)
            taken = isinstance(answer, Delivered)
            said = f"{name} has taken the test." if isinstance(answer, Delivered) else f"{name}: {answer.reason}"
            return await _page(site, who, said if taken else "", "" if taken else said)
        case "enable":
            await enable(site, who, name, enabled=True)
            return await _page(site, who, f"{name} is enabled, and gets what it has missed.")
        case "disable":
            await enable(site, who, name, enabled=False)
            return await _page(site, who, f"{name} is disabled.")
        case _:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such action.")


async def _page(site: Site, who: Identity, said: str = "", problem: str = "") -> Response:
    found: Sequence[EndpointStatus] = await list_endpoints(settings=site.runtime.settings)
    waiting = await count_pending(site.runtime)
    rows = [EndpointRow.of(one, waiting.get(one.endpoint.name, 0)) for one in found]
    has_notifier = any(row.delivered or row.disabled or row.state == "failing" or not row.waiting for row in rows)
    return page("notifications", who, said=said, problem=problem, endpoints=rows, has_notifier=has_notifier)
