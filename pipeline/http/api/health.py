"""Whether the process runs, and whether its store answers. Both need no token."""

from __future__ import annotations

from http import HTTPStatus

import anyio
from fastapi import APIRouter, Request

from pipeline.domain.errors import PipelineError
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of

ANSWER_SECONDS = 5.0

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer while the process runs."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Answer with 200 if the store answers within five seconds, else with 503."""
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            await site_of(request).runtime.store.list_page("flows/", limit=1)
    except (PipelineError, TimeoutError) as error:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error) or "The store does not answer.") from error
    return {"status": "ready"}
