"""Endpoints of notifications: what was delivered to each, and what waits."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from pipeline.assembly.commands.notifications import (
    EndpointStatus,
    change_endpoint,
    count_pending,
    list_endpoints,
    send_test,
)
from pipeline.domain.errors import AbsentError
from pipeline.domain.notifications.delivery import Answer, Delivered
from pipeline.http.access import Operator, Viewer
from pipeline.http.api.models import Page
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity
from pipeline.log_events import log

router = APIRouter(prefix="/notifications", tags=["notifications"])


class EndpointModel(BaseModel):
    """An endpoint. `disabled` says why it gets nothing; empty if it does. `waiting` events are not delivered yet."""

    name: str
    url: str
    created: datetime
    flows: list[str]
    types: list[str]
    disabled: str
    delivered: int
    waiting: int
    given_up: int
    failing_since: datetime | None
    last_delivery: datetime | None
    last_failure: str

    @classmethod
    def of(cls, status: EndpointStatus, waiting: int) -> EndpointModel:
        """Return the document of an endpoint."""
        one, known = status.endpoint, status.deliveries
        return cls(
            name=one.name,
            url=one.url,
            created=one.created,
            flows=list(one.flows),
            types=list(one.types),
            disabled=one.disabled,
            delivered=known.delivered,
            waiting=waiting,
            given_up=len(known.given_up),
            failing_since=known.failing_since,
            last_delivery=known.last_delivery,
            last_failure=known.last_failure,
        )


class Tested(BaseModel):
    """Whether an endpoint has taken a test; if not, why."""

    taken: bool
    reason: str


@router.get("")
async def list_all(request: Request, _: Viewer) -> Page[EndpointModel]:
    """List all endpoints, by name."""
    return Page(items=await _read(site_of(request)))


@router.post("/{name}/test")
async def test(request: Request, who: Operator, name: str) -> Tested:
    """Send a test to an endpoint."""
    answer = await try_out(site_of(request), who, name)
    return Tested(taken=True, reason="") if isinstance(answer, Delivered) else Tested(taken=False, reason=answer.reason)


@router.post("/{name}/{verb}")
async def change(request: Request, who: Operator, name: str, verb: Literal["enable", "disable"]) -> EndpointModel:
    """Enable an endpoint, which then gets what it has missed, or disable it."""
    site = site_of(request)
    await enable(site, who, name, enabled=verb == "enable")
    found = next((one for one in await _read(site) if one.name == name), None)
    if found is None:
        raise AbsentError(f"There is no endpoint {name!r} any more.")
    return found


async def try_out(site: Site, who: Identity, name: str) -> Answer:
    """Send a test to an endpoint for a person, and record it; return what became of it."""
    answer = await send_test(name, settings=site.runtime.settings)
    _note(who, name, "test")
    return answer


async def enable(site: Site, who: Identity, name: str, *, enabled: bool) -> None:
    """Enable or disable an endpoint for a person, and record it."""
    await change_endpoint(name, "" if enabled else f"by {who.name}", settings=site.runtime.settings)
    _note(who, name, "enable" if enabled else "disable")


async def _read(site: Site) -> list[EndpointModel]:
    waiting = await count_pending(site.runtime)
    found = await list_endpoints(settings=site.runtime.settings)
    return [EndpointModel.of(one, waiting.get(one.endpoint.name, 0)) for one in found]


def _note(who: Identity, endpoint: str, verb: str) -> None:
    log.info("action_taken", flow="", verb=f"{verb} {endpoint}", by=who.name, why="")
