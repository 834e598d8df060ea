"""The verbs of the lifecycle. A verb that is illegal now is answered with 409 and the legal ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Header, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.table import Verb
from pipeline.engine.control.approvals import unapproved
from pipeline.http.access import Operator
from pipeline.http.api.flows import movement_model
from pipeline.http.api.idempotency import once
from pipeline.http.api.models import MovementModel
from pipeline.http.api.paths import FlowPath
from pipeline.http.api.verbs import Asked, act
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity

DoableVerb: TypeAlias = Literal["start", "queue", "pause", "resume", "stop", "rerun", "retry"]

router = APIRouter(prefix="/flows/{flow}/actions", tags=["movements"])


class ActionRequest(BaseModel):
    """Why, and of which groups: all of them by default. `until` is for a pause, and has a zone."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)
    groups: list[str] = Field(default_factory=list, max_length=1000)
    until: AwareDatetime | None = None


@router.post("/{verb}")
async def do(
    request: Request,
    who: Operator,
    flow: FlowPath,
    verb: DoableVerb,
    wanted: ActionRequest,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> MovementModel:
    """Do a verb of the lifecycle. A request that is repeated with its `Idempotency-Key` does nothing, and is answered alike.

    `queue` starts a Movement once the present one has settled, and returns the one that it waits for, or the new one.
    """
    site = site_of(request)
    if idempotency_key is None:
        return await _do(site, who, flow, verb, wanted)

    async def do_it() -> dict[str, Any]:
        return (await _do(site, who, flow, verb, wanted)).model_dump(mode="json")

    found, asked = await site.runtime.flows.read_flow(flow), f"{flow} {verb} {wanted.model_dump_json()}"
    return MovementModel.model_validate(await once(site, who, idempotency_key, found, asked, do_it))


async def _do(site: Site, who: Identity, flow: FlowName, verb: DoableVerb, wanted: ActionRequest) -> MovementModel:
    asked = Asked(wanted.reason, wanted.groups, wanted.until)
    number = await act(site, who, flow, Verb(verb), asked)
    flows = site.runtime.flows
    found = await flows.read_flow(flow)
    missing = await unapproved(flows.store, found)
    return await movement_model(site, found, await flows.read_movement(flow, number), missing)
