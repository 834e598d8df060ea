"""The verbs of the lifecycle. A verb that is illegal now is answered with 409 and the legal ones."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Annotated, Literal, TypeAlias

import orjson
from fastapi import APIRouter, Header, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.lifecycle.table import Verb
from pipeline.http.access import Operator
from pipeline.http.api.flows import movement_model
from pipeline.http.api.models import MovementModel
from pipeline.http.api.paths import FlowPath
from pipeline.http.api.verbs import Asked, act
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity
from pipeline.ports.object_store import PutCondition

REQUESTS = "serve/requests/"
"""The answers that were given for an `Idempotency-Key`."""

DoableVerb: TypeAlias = Literal["start", "pause", "resume", "stop", "rerun", "retry"]

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
    """Do a verb of the lifecycle. A request that is repeated with its `Idempotency-Key` does nothing, and is answered alike."""
    site = site_of(request)
    if idempotency_key is None:
        return await _do(site, who, flow, verb, wanted)
    key = _request_key(who, idempotency_key)
    asked = f"{flow} {verb} {wanted.model_dump_json()}"
    if (known := await _known(site, key, asked)) is not None:
        return known
    answer = await _do(site, who, flow, verb, wanted)
    document = orjson.dumps({"asked": asked, "answer": answer.model_dump(mode="json")})
    await site.runtime.store.put(key, document, PutCondition.NONE)
    return answer


async def _do(site: Site, who: Identity, flow: FlowName, verb: DoableVerb, wanted: ActionRequest) -> MovementModel:
    asked = Asked(wanted.reason, wanted.groups, wanted.until)
    number = await act(site, who, flow, Verb(verb), asked)
    return await movement_model(site, flow, number)


def _request_key(who: Identity, key: str) -> ObjectKey:
    digest = hashlib.sha256("\0".join((who.name, key)).encode()).hexdigest()
    return ObjectKey(f"{REQUESTS}{digest}.json")


async def _known(site: Site, key: ObjectKey, asked: str) -> MovementModel | None:
    try:
        found = orjson.loads((await site.runtime.store.get(key)).data)
    except AbsentError:
        return None
    if found["asked"] != asked:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "This Idempotency-Key was used for another request. Use a new one."
        )
    return MovementModel.model_validate(found["answer"])
