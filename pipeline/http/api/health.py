"""Whether the process runs, whether its store answers (both need no token), and metrics."""

from __future__ import annotations

from http import HTTPStatus

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.domain.errors import PipelineError
from pipeline.http.access import Viewer
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


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, _who: Viewer) -> Response:
    """Return the metrics of this server and of the fleet, in Prometheus's text format. The fleet's are 15 seconds old at most."""
    fleet = site_of(request).fleet
    if fleet is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "This server has no metrics.")
    text, content_type = await fleet.render()
    return Response(text, media_type=content_type)
