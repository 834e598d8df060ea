"""The verbs of the lifecycle. A verb that is illegal now is answered with 409 and the legal ones."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline.assembly.commands.workers import start
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.http.access import Operator
from pipeline.http.api.models import MovementModel
from pipeline.http.api.paths import FlowPath
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition

REQUESTS = "serve/requests/"
"""The answers that were given for an `Idempotency-Key`."""

router = APIRouter(prefix="/flows/{flow}/actions", tags=["movements"])


class ActionRequest(BaseModel):
    """Why, and what for the verb needs more of."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


@router.post("/{verb}")
async def do(
    request: Request,
    who: Operator,
    flow: FlowPath,
    verb: Literal["start"],
    wanted: ActionRequest,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> MovementModel:
    """Do a verb of the lifecycle. With an `Idempotency-Key`, the same request is done once, and answered alike."""
    site = site_of(request)
    if idempotency_key is None:
        return await act(site, who, flow, verb, reason=wanted.reason)
    key = _request_key(who, idempotency_key)
    asked = f"{flow} {verb} {wanted.model_dump_json()}"
    if (known := await _known(site, key, asked)) is not None:
        return known
    answer = await act(site, who, flow, verb, reason=wanted.reason)
    document = orjson.dumps({"asked": asked, "answer": answer.model_dump(mode="json")})
    await site.runtime.store.put(key, document, PutCondition.NONE)
    return answer


async def act(site: Site, who: Identity, flow: FlowName, verb: str, *, reason: str = "") -> MovementModel:
    """Do a verb, and return the Movement that it is about."""
    log.info("action_taken", flow=flow, verb=verb, by=who.name, why=reason)
    movement, _ = await start(flow, settings=site.runtime.settings)
    return MovementModel.of(movement)


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
