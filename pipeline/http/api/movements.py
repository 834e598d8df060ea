"""Movements of a Flow: their groups, Event Files, rejected records and workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from pipeline.assembly.commands.observation.listings import SMALL_MOVEMENTS
from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.movement import GroupCounts, Status
from pipeline.engine.control.approvals import unapproved
from pipeline.engine.storage.concurrently import concurrently
from pipeline.http.access import Viewer
from pipeline.http.api.file_pages import Failures, ListedFiles
from pipeline.http.api.flows import movement_model
from pipeline.http.api.models import FileModel, GroupModel, MovementModel, Page, RejectedModel, WorkerModel
from pipeline.http.api.paths import After, FlowPath, Limit, event_file_id
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.ports.destination import Mark

MOST_WORKERS = 10
"""Each worker of a list costs a request."""
LOOKED_AT = 14
"""How many Movements a list of a Flow with very many looks at before it gives a cursor to go on from."""

router = APIRouter(prefix="/flows/{flow}", tags=["movements"])


@router.get("/movements")
async def list_movements(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    status: Annotated[Status | None, Query(description="Only Movements with this status.")] = None,
    after: Annotated[int | None, Query(ge=1, description="The cursor `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Page[MovementModel]:
    """List Movements, the newest first. A page of a Flow with very many may be short or empty, and still have a `next`."""
    flows = site_of(request).runtime.flows
    found = await flows.read_flow(flow)
    first = found.movements if after is None else min(after - 1, found.movements)
    missing = await unapproved(flows.store, found)
    items: list[MovementModel] = []
    oldest = max(found.rebuilt, 1)
    last = max(oldest, first - LOOKED_AT + 1) if found.movements > SMALL_MOVEMENTS else oldest
    number = first
    while number >= last and len(items) < limit:
        movement = await flows.read_movement(flow, number)
        if status in (None, movement.status):
            items.append(await movement_model(site_of(request), found, movement, missing))
        number -= 1
    return Page(items=items, next=str(number + 1) if number >= oldest else None)


@router.get("/movements/{number}")
async def read_movement(request: Request, _: Viewer, flow: FlowPath, number: int) -> MovementModel:
    """Return a Movement."""
    flows = site_of(request).runtime.flows
    found = await flows.read_flow(flow)
    missing = await unapproved(flows.store, found)
    return await movement_model(site_of(request), found, await flows.read_of(found, number), missing)


@router.get("/movements/{number}/groups")
async def list_groups(
    request: Request, _: Viewer, flow: FlowPath, number: int, after: After = None
) -> Page[GroupModel]:
    """List the File Groups of a Movement by label, and how many of their Event Files the destination has.

    A page ends where more File Lists have to be read than one answer reads, and has a `next` then.
    """
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    groups = await site.listings.groups(found, await site.runtime.flows.read_of(found, number), after or "")
    items = [_counted(label, counts) for label, counts in groups.counts.items()]
    return Page(items=items, next=items[-1].label if groups.more else None)


@router.get("/movements/{number}/files")
async def list_event_files(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    number: int,
    stream: Annotated[str | None, Query(description="Only Event Files of this stream.")] = None,
    state: Annotated[Literal["imported", "waiting", "rejected"] | None, Query()] = None,
    after: After = None,
    limit: Limit = 100,
) -> Page[FileModel]:
    """List the Event Files that a Flow has accumulated up to a Movement, in the order in which they are imported.

    A page of a Flow with very many may be short, and still have a `next`.
    """
    site = site_of(request)
    found = await site.runtime.flows.read_flow(flow)
    movement = await site.runtime.flows.read_of(found, number)
    marks = (await site.listings.marks(found)).by_file

    def shown(entry: FileEntry, _before: FileEntry | None) -> Sequence[FileEntry]:
        is_wanted = stream in (None, entry.id.stream) and (state is None or _has_state(entry, state, marks))
        return (entry,) if is_wanted else ()

    listed = ListedFiles(site.runtime.flows.file_lists, found, movement)
    page = await listed.page(movement.file_lists, shown, after, limit)
    return Page(items=files_of(page.items, marks), next=page.next)


@router.get("/movements/{number}/rejected")
async def list_rejected(
    request: Request, _: Viewer, flow: FlowPath, number: int, after: After = None, limit: Limit = 100
) -> Page[RejectedModel]:
    """List the records that the destination has rejected in a Movement, and the Event Files that have failed."""
    flows = site_of(request).runtime.flows
    named = await flows.read_flow(flow)
    failures = Failures(flows, named, await flows.read_of(named, number))
    found = await failures.page(lambda one: True, after, limit)
    return Page(items=[RejectedModel.of(one) for one in found.items], next=found.next)


@router.get("/movements/{number}/workers")
async def list_workers(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    number: int,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=MOST_WORKERS)] = MOST_WORKERS,
) -> Page[WorkerModel]:
    """List the workers that have worked on a Movement, by name."""
    flows = site_of(request).runtime.flows
    await flows.read_of(await flows.read_flow(flow), number)
    found = await flows.list_signs(flow, number, after or "", limit)
    items = [WorkerModel.of(one.progress) for one in await concurrently(flows.read_sign, found, limit)]
    return Page(items=items, next=items[-1].worker if len(items) == limit else None)


@router.get("/files/{file:path}", response_class=StreamingResponse)
async def download(request: Request, _: Viewer, flow: FlowPath, file: str) -> Response:
    """Return an Event File as it is stored: JSON lines, compressed with zstd."""
    site, found = site_of(request), event_file_id(file)
    owner = (await site.runtime.flows.read_flow(flow)).origin or flow
    return await stream_object(site, owner, found)


async def stream_object(site: Site, flow: FlowName, file: EventFileId) -> Response:
    """Return the bytes of an Event File as they are stored."""
    key = object_keys.event_file_key(flow, file)
    info = await site.runtime.store.stat(key)
    if info is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Flow {flow!r} has no Event File {file}.")

    async def pieces() -> AsyncIterator[bytes]:
        async with site.runtime.store.open_stream(key) as stream:
            async for piece in stream:
                yield piece

    name = f'attachment; filename="{file.chunk}.jsonl.zst"'
    headers = {"content-length": str(info.size), "content-disposition": name}
    return StreamingResponse(pieces(), media_type="application/zstd", headers=headers)


def files_of(entries: Sequence[FileEntry], marks: Mapping[EventFileId, Mark] | None) -> list[FileModel]:
    """Return these Event Files, and what a destination with these marks has of them."""
    return [_file(entry, marks) for entry in entries]


def _counted(label: str, counts: GroupCounts) -> GroupModel:
    return GroupModel(
        label=label,
        listed=counts.listed,
        imported=counts.imported,
        records=counts.records,
        bytes=counts.bytes,
    )


def _file(entry: FileEntry, marks: Mapping[EventFileId, Mark] | None) -> FileModel:
    file = FileModel.of(entry)
    if marks is not None:
        mark = marks.get(entry.id)
        file.imported, file.rejected = mark is not None, mark.rejected if mark else 0
    return file


def _has_state(entry: FileEntry, state: str, marks: Mapping[EventFileId, Mark] | None) -> bool:
    mark = (marks or {}).get(entry.id)
    if state == "rejected":
        return mark is not None and mark.rejected > 0
    return marks is not None and (mark is None) == (state == "waiting")
