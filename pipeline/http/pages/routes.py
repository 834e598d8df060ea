"""The pages that show: Flows, a Flow, a Movement, its Event Files, workers."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.assembly.commands.history import read_history
from pipeline.assembly.commands.observation.latest import LatestMovement, read_latest
from pipeline.assembly.commands.show import show
from pipeline.assembly.commands.status import read_state, read_status
from pipeline.domain.errors import PipelineError
from pipeline.domain.event_file import Header
from pipeline.http.api.models import WorkerModel
from pipeline.http.api.movements import files_of, groups_of, listing_of
from pipeline.http.api.paths import After, FlowPath, page_of
from pipeline.http.pages.actions import actions_for
from pipeline.http.pages.rendering import page
from pipeline.http.pages.session import Viewer, take_token, viewer
from pipeline.http.pages.views import FlowRow, Grid, MovementView, advice, bars, severity, timeline
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of

REJECTED_SHOWN = 20
EVENTS_SHOWN = 100
FILES_SHOWN = 100
RECORDS_SHOWN = 50
LONGEST_RECORD = 2000

router = APIRouter(include_in_schema=False)


@router.get("/")
async def flows(request: Request, token: str | None = None) -> Response:
    """Show all Flows. With `token`, as the link of the start-up has it, log in first."""
    site = site_of(request)
    if token is not None:
        return await take_token(site, token)
    who = await viewer(request)
    rows, unreadable = [], []
    for one in await read_latest(site.runtime):
        if isinstance(one, LatestMovement):
            rows.append(FlowRow.of(one.flow, one.movement, one.state))
        else:
            unreadable.append(one)
    rows.sort(key=lambda row: (severity(row.status), row.name))
    return page("flows", who, flows=rows, unreadable=unreadable)


@router.get("/flows/{flow}")
async def flow_page(request: Request, who: Viewer, flow: FlowPath) -> Response:
    """Show a Flow: its Movements by groups, and what can be done."""
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    status = await read_status(site.runtime, found)
    events = (await read_history(site.runtime, flow)).events
    latest = status.movements[-1] if status.movements else None
    movements = [MovementView.of(one, await read_state(site.runtime, one)) for one in reversed(status.movements)]
    shown = bars(events)
    return page(
        "flow",
        who,
        flow=found,
        latest=movements[0] if movements else None,
        movements=movements,
        actions=actions_for(latest),
        grid=Grid.of(events),
        bars=shown,
        bars_label=f"Records of the last {len(shown)} Movements, at most {max((bar.records for bar in shown), default=0):,}",
    )


@router.get("/flows/{flow}/movements/{number}")
async def movement_page(request: Request, who: Viewer, flow: FlowPath, number: int) -> Response:
    """Show a Movement: groups, rejected records, workers, timeline."""
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    movement = await site.runtime.flows.read_movement(flow, number)
    failures = await site.runtime.flows.read_failures(flow, number, REJECTED_SHOWN)
    workers = await site.runtime.flows.read_progress(flow, number)
    listing = await listing_of(site, flow, number)
    is_latest = number == found.movements
    return page(
        "movement",
        who,
        flow=found,
        movement=MovementView.of(movement, await read_state(site.runtime, movement)),
        actions=actions_for(movement) if is_latest else [],
        advice=advice(await read_status(site.runtime, found)) if is_latest and not movement.settled else "",
        groups=groups_of(listing),
        unknown_because=listing.marks.unknown_because if listing.marks.by_file is None else "",
        rejected=failures[:REJECTED_SHOWN],
        more_rejected=len(failures) > REJECTED_SHOWN,
        workers=[WorkerModel.of(one) for one in workers],
        events=timeline((await read_history(site.runtime, flow, number)).events[-EVENTS_SHOWN:]),
    )


@router.get("/flows/{flow}/movements/{number}/files")
async def files_page(
    request: Request, who: Viewer, flow: FlowPath, number: int, label: str = "", after: After = None
) -> Response:
    """Show the Event Files of a Movement, or of one group of it."""
    listing = await listing_of(site_of(request), flow, number)
    files = [file for file in files_of(listing) if label in ("", file.label)]
    shown = page_of(files, lambda file: file.file, after, FILES_SHOWN)
    return page("files", who, flow=flow, number=number, label=label, files=shown.items, next=shown.next)


@router.get("/flows/{flow}/files/{file:path}")
async def file_page(request: Request, who: Viewer, flow: FlowPath, file: str) -> Response:
    """Show the beginning of an Event File."""
    reader = _Beginning()
    with suppress(_EnoughError):
        await show(file, reader.take, flow=flow, settings=site_of(request).runtime.settings)
    header = reader.header
    if header is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Event File {file} is empty.")
    schema = header.schema
    return page(
        "file",
        who,
        flow=flow,
        file=file,
        stream=schema.stream,
        key=schema.primary_keys,
        columns=schema.columns,
        rows=header.row_count,
        lines=[(number, line[:LONGEST_RECORD]) for number, line in enumerate(reader.lines, 2)],
    )


class _EnoughError(Exception):
    """The beginning has been read."""


class _Beginning:
    def __init__(self) -> None:
        self.header: Header | None = None
        self.lines: list[str] = []

    def take(self, part: Header | bytes) -> None:
        if isinstance(part, Header):
            self.header = part
            return
        self.lines += part.decode("utf-8", "replace").splitlines()[: RECORDS_SHOWN - len(self.lines)]
        if len(self.lines) == RECORDS_SHOWN:
            raise _EnoughError


@router.get("/workers")
async def workers_page(request: Request, who: Viewer) -> Response:
    """Show who works on the latest Movement of each Flow."""
    flows, found = site_of(request).runtime.flows, []
    for name in await flows.list_names():
        with suppress(PipelineError):  # the page of all Flows names one that cannot be read
            flow = await flows.read_flow(name)
            for one in await flows.read_progress(name, flow.movements) if flow.movements else ():
                model = WorkerModel.of(one)
                found.append({**model.model_dump(), "flow": name, "number": flow.movements})
    found.sort(key=lambda one: one["updated"], reverse=True)
    return page("workers", who, workers=found)
