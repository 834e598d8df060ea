"""The log of a Movement as a file: what Importers have told people."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from pipeline.assembly.commands.people_log import LOG_COLUMNS, log_values, read_log
from pipeline.codec.cells import guarded
from pipeline.domain.ids import FlowName
from pipeline.http.access import Viewer
from pipeline.http.api.paths import FlowPath
from pipeline.http.site import Site, site_of

router = APIRouter(prefix="/flows/{flow}", tags=["movements"])
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


@router.get("/log.{form}", response_class=StreamingResponse)
async def read(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    form: Literal["csv", "jsonl"],
    movement: Annotated[int | None, Query(ge=1, description="By default the latest.")] = None,
) -> Response:
    """Return what Importers have told people in a Movement, oldest first, as CSV or as JSON lines."""
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    number = found.movements if movement is None else (await site.runtime.flows.read_of(found, movement)).number
    headers = {"content-disposition": f'attachment; filename="log-{number}.{form}"'}
    return StreamingResponse(_lines(site, flow, number, form), media_type=MEDIA_TYPES[form], headers=headers)


async def _lines(site: Site, flow: FlowName, number: int, form: str) -> AsyncGenerator[bytes, None]:
    if form == "csv":
        yield _csv(LOG_COLUMNS)
    async with aclosing(read_log(flow, number, settings=site.runtime.settings)) as told:
        async for one in told:
            values = log_values(flow, one)
            yield _csv(values) if form == "csv" else orjson.dumps(dict(zip(LOG_COLUMNS, values, strict=True))) + b"\n"


def _csv(values: tuple[object, ...]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(guarded(values))
    return line.getvalue().encode("utf-8", "surrogatepass")
