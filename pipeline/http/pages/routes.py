"""The pages that show: Flows, a Flow, a Movement, its Event Files, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.assembly.commands.history import read_history, read_recent
from pipeline.assembly.commands.observation.latest import LatestMovement, read_latest
from pipeline.assembly.commands.status import progress_with, state_with, workers_of
from pipeline.codec.documents.progress import Progress
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain.event_file import Header
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.movement import Movement
from pipeline.domain.object_keys import event_file_key
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.engine.control.approvals import next_steps, unapproved
from pipeline.engine.movements.work_errors import read_errors
from pipeline.http.api.file_pages import Failures, ListedFiles
from pipeline.http.api.models import WorkerModel
from pipeline.http.api.movements import files_of
from pipeline.http.api.paths import After, FlowPath, event_file_id
from pipeline.http.pages.actions import actions_for
from pipeline.http.pages.charts import SHOWN, RateChart, lags, movement_charts, rate_chart
from pipeline.http.pages.rendering import live_page, page
from pipeline.http.pages.session import Viewer, take_token, viewer
from pipeline.http.pages.views import FlowRow, Grid, MovementView, UnderWay, advice, severity, timeline
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of

MOVEMENTS_SHOWN = 7
REJECTED_SHOWN, FAILED_READ = 20, 4
EVENTS_SHOWN = 100
FILES_SHOWN = 100
RECORDS_SHOWN = 50
LONGEST_RECORD = 2000
LISTS_SECONDS, MOVEMENT_SECONDS = 5.0, 2.0
"""How often pages ask for their parts, while few people look."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def flows(request: Request, token: str | None = None) -> Response:
    """Show all Flows. With `token`, as the link of the start-up has it, log in first."""
    site = site_of(request)
    if token is not None:
        return await take_token(site, token)

    async def read() -> Mapping[str, object]:
        found = await read_latest(site.runtime, site.signs)
        rows = [FlowRow.of(one.flow, one.movement, one.state) for one in found if isinstance(one, LatestMovement)]
        rows.sort(key=lambda row: (severity(row.status), row.name))
        return {"flows": rows, "unreadable": [one for one in found if not isinstance(one, LatestMovement)]}

    return await live_page(request, await viewer(request), "flows", LISTS_SECONDS, read)


@router.get("/flows/{flow}")
async def flow_page(request: Request, who: Viewer, flow: FlowPath) -> Response:
    """Show a Flow: its Movements by groups, and what can be done."""
    site = site_of(request)

    async def read() -> Mapping[str, object]:
        found = await site.runtime.flows.read_flow(flow)
        first = max(1, found.rebuilt, found.movements - MOVEMENTS_SHOWN + 1)
        numbers = range(found.movements, first - 1, -1)
        latest = [await site.runtime.flows.read_movement(flow, number) for number in numbers]
        now, missing = site.runtime.clock.now(), await unapproved(site.runtime.store, found)
        movements = [
            MovementView.of(one, state_with(site.runtime, found, one, (await site.signs.of_open(one))[0], missing))
            for one in latest
        ]
        events = await read_recent(site.runtime, found, SHOWN)
        return {
            "flow": found,
            "latest": movements[0] if movements else None,
            "movements": movements,
            "actions": actions_for(NextSteps(latest[0], now, found, missing) if latest else None),
            "grid": Grid.of(events),
            "charts": movement_charts(events),
        }

    return await live_page(request, who, "flow", LISTS_SECONDS, read)


@router.get("/flows/{flow}/movements/{number}")
async def movement_page(request: Request, who: Viewer, flow: FlowPath, number: int) -> Response:
    """Show a Movement: groups, rejected records, workers, timeline."""
    site = site_of(request)

    async def read() -> Mapping[str, object]:
        return await _movement_values(site, flow, number)

    return await live_page(request, who, "movement", MOVEMENT_SECONDS, read)


async def _movement_values(site: Site, flow: FlowName, number: int) -> Mapping[str, object]:
    runtime = site.runtime
    found = await runtime.flows.read_flow(flow)
    movement = await runtime.flows.read_of(found, number)
    failures = await Failures(runtime.flows, found, movement).page(lambda one: True, None, REJECTED_SHOWN, FAILED_READ)
    signs, more_workers = await site.signs.read(movement)
    workers = workers_of(runtime, movement, signs)
    shown = None if more_workers else progress_with(runtime, movement, signs)
    groups = await site.listings.groups(found, movement)
    events = (await read_history(runtime, flow, number)).events
    steps = await next_steps(runtime.flows, found, movement, runtime.clock.now())
    is_latest = number == found.movements
    errors = [] if movement.settled else await read_errors(runtime.store, flow, number)
    return {
        "flow": found,
        "movement": MovementView.of(movement, state_with(runtime, found, movement, signs, steps.unapproved)),
        "actions": actions_for(steps) if is_latest else [],
        "advice": advice(errors),
        "groups": groups.counts,
        "more_groups": groups.more,
        "unknown_because": groups.unknown_because,
        "under_way": None if movement.settled else UnderWay.of(workers, shown),
        "lags": lags(events),
        "rates": None if movement.settled else _rates(site, movement, workers),
        "rejected": failures.items,
        "more_rejected": failures.next is not None,
        "workers": [WorkerModel.of(one) for one in workers],
        "more_workers": more_workers,
        "events": timeline(events[-EVENTS_SHOWN:]),
    }


def _rates(site: Site, movement: Movement, workers: Sequence[Progress]) -> RateChart | None:
    groups = [group for worker in workers for group in worker.groups.values()]
    exported, imported = sum(one.rows_read for one in groups), sum(one.records_imported for one in groups)
    return rate_chart(site.live.sample(movement.flow, movement.number, exported, imported))


@router.get("/flows/{flow}/movements/{number}/files")
async def files_page(
    request: Request, who: Viewer, flow: FlowPath, number: int, label: str = "", after: After = None
) -> Response:
    """Show the Event Files of one group of a Movement."""
    site = site_of(request)
    flows = site.runtime.flows
    found = await flows.read_flow(flow)
    movement = await flows.read_of(found, number)
    labels = sorted(movement.file_lists)
    label = label or (labels[0] if labels else "")
    group = [one for one in labels if one == label]
    shown = await ListedFiles(flows.file_lists, found, movement).page(group, lambda one, _: (one,), after, FILES_SHOWN)
    files = files_of(shown.items, (await site.listings.marks(found)).by_file)
    return page("files", who, flow=flow, number=number, labels=labels, label=label, files=files, next=shown.next)


@router.get("/flows/{flow}/files/{file:path}")
async def file_page(request: Request, who: Viewer, flow: FlowPath, file: str) -> Response:
    """Show the beginning of an Event File."""
    site = site_of(request)
    id_ = event_file_id(file)
    owner = (await site.runtime.flows.read_flow(flow)).origin or flow
    header, lines = await _beginning(site, owner, id_)
    schema = header.schema
    return page(
        "file",
        who,
        flow=flow,
        file=str(id_),
        stream=schema.stream,
        key=schema.primary_keys,
        columns=schema.columns,
        rows=header.row_count,
        lines=[(number, line[:LONGEST_RECORD]) for number, line in enumerate(lines, 2)],
    )


async def _beginning(site: Site, owner: FlowName, file: EventFileId) -> tuple[Header, Sequence[str]]:
    """Return the header of an Event File, and its first records. ProblemError when it is empty."""
    reader, lines = EventFileReader(None, what=f"Event File {file}"), list[str]()
    async with site.runtime.store.open_stream(event_file_key(owner, file)) as pieces:
        async for piece in pieces:
            for block in reader.feed(piece):
                some = block.splitlines()[: RECORDS_SHOWN - len(lines)]  # not of text, which has other ends of lines
                lines += [line.decode("utf-8", "replace") for line in some]
            if len(lines) == RECORDS_SHOWN:
                break
    if reader.header is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Event File {file} is empty.")
    return reader.header, lines


@router.get("/workers")
async def workers_page(request: Request, who: Viewer) -> Response:
    """Show who works on the latest Movement of each Flow."""
    site = site_of(request)

    async def read() -> Mapping[str, object]:
        found, more = [], 0
        for one in await read_latest(site.runtime, site.signs):  # the page of all Flows names one that cannot be read
            if isinstance(one, LatestMovement) and one.movement is not None:
                name, number = one.flow.name, one.movement.number
                signs, unread = await site.signs.read(one.movement)
                models = [WorkerModel.of(sign.progress) for sign in signs]
                found += [{**model.model_dump(), "flow": name, "number": number} for model in models]
                more += unread
        found.sort(key=lambda worker: worker["updated"], reverse=True)
        return {"workers": found, "more_workers": more}

    return await live_page(request, who, "workers", LISTS_SECONDS, read)
