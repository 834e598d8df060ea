"""The app that pulls: what there is to import, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from pipeline.assembly.commands.observation.id_map import open_id_map
from pipeline.assembly.commands.status import counts_at_end
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, parse_binary_id
from pipeline.domain.movement import Movement, Status
from pipeline.domain.planning.compaction import applicable_part
from pipeline.domain.planning.group_counts import counts_under_way
from pipeline.http.access import require_app
from pipeline.http.api.file_pages import ListedFiles
from pipeline.http.api.models import Page
from pipeline.http.api.paths import After, FlowPath, Limit
from pipeline.http.api.reports.mappings import Mapping, kind_of, page_of_kind
from pipeline.http.apps.reach import Reach
from pipeline.http.links import Links
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Side
from pipeline.remote.app_import import AppImport, FileStatus, RefusedRecord, ReportedStatus

LONGEST_WAIT_SECONDS = 30.0
POLL_SECONDS = 0.2
LARGEST_BATCH = 1200
MOST_REFUSED = 200_000
"""Of one Event File, which has hardly more records. All of a report are limited by its bytes."""

router = APIRouter(prefix="/apps/{flow}/import", tags=["apps"])
App = Annotated[Identity, Depends(require_app(Side.DESTINATION))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GroupState(BaseModel):
    """A File Group that is complete."""

    label: str
    files: int
    imported: int


class ImportState(BaseModel):
    """What there is to import. `version` changes with every group that is complete, and with the status.

    `original_movement` is the first attempt, of which this Movement is a re-run.
    """

    flow: str
    movement: int
    original_movement: int | None
    status: str
    settled: bool
    exported: bool
    groups: list[GroupState]
    percent: float
    version: str


class ListedFile(BaseModel):
    """An Event File of a File List. `url` is a path of this server, and valid until `expires`."""

    file: str
    stream: str
    phase: str
    encoding: str
    size: int
    checksum: str
    upserts: int
    deletes: int
    imported: bool
    url: str
    expires: datetime


class LinksRequest(_Strict):
    """Files and contents to make links for."""

    files: list[str] = Field(default_factory=list, max_length=LARGEST_BATCH)
    binaries: list[str] = Field(default_factory=list, max_length=LARGEST_BATCH)


class LinkModel(BaseModel):
    """A link to a file or content."""

    name: str
    url: str
    expires: datetime


class Refusal(_Strict):
    """A record that the app did not accept: its line in the file (the header is line 1), and why."""

    line: int = Field(strict=True, ge=2)
    reason: str = Field(max_length=2000)
    column: str | None = Field(default=None, max_length=1000)


class Report(_Strict):
    """What became of an Event File. `final`: it is not tried again in this Movement."""

    file: str
    status: Literal["imported", "failed"]
    final: StrictBool = False
    reason: str = Field(default="", max_length=2000)
    refused: list[Refusal] = Field(default_factory=list, max_length=MOST_REFUSED)


class Reports(_Strict):
    """Reports, in the order in which they hold."""

    files: list[Report] = Field(max_length=LARGEST_BATCH)


class Outcome(BaseModel):
    """What a report has led to."""

    file: str
    outcome: str


class ProgressReport(_Strict):
    """How far the app is. A percent that is lower than one before does not count."""

    percent: float = Field(strict=True, ge=0, le=100)
    message: str = Field(default="", max_length=65_536)


class Settlement(_Strict):
    """How the app ends its import."""

    status: Literal["SUCCESS", "INCOMPLETE", "FAILED"]
    reason: str = Field(default="", max_length=2000)


class MappingKeys(_Strict):
    """Ids of the source."""

    sources: list[str] = Field(max_length=LARGEST_BATCH)


@router.get("")
async def read_import(
    request: Request,
    _: App,
    flow: FlowPath,
    seen: Annotated[str, Query(max_length=200, description="The `version` that the app knows.")] = "",
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS, description="Seconds to wait for another one.")] = 0,
) -> ImportState:
    """Return what there is to import; with `wait`, as soon as there is something that the app has not seen."""
    site = site_of(request)
    until = anyio.current_time() + wait
    while await _latest_version(site, flow) == seen and anyio.current_time() < until:
        with anyio.move_on_after(POLL_SECONDS):
            await site.stopping.wait()
        if site.stopping.is_set():
            break
    return await _state(site, flow)


@router.get("/{number}/groups/{label:path}/files")
async def list_files(
    request: Request, who: App, flow: FlowPath, number: int, label: str, after: After = None, limit: Limit = 100
) -> Page[ListedFile]:
    """List the Event Files of a complete group, in the order in which they are to be imported."""
    site = site_of(request)
    importing = await _open(site, flow, number)
    group = importing.complete_group(label)
    marks, links, reach = await importing.marks(), await Links.of(site), _reach(who, importing)
    listed = ListedFiles(site.runtime.flows.file_lists, importing.flow, importing.movement)

    def shown(entry: FileEntry, before: FileEntry | None) -> Sequence[FileEntry]:
        reach.ensure([entry.id.stream])
        return applicable_part(entry, before, marks)

    page = await listed.page([group], shown, after, limit)
    items = []
    for entry in page.items:
        url, expires = links.make(importing.movement.stored_in, "events", str(entry.id))
        items.append(
            ListedFile(
                file=str(entry.id),
                stream=entry.id.stream,
                phase=entry.id.phase.value,
                encoding=entry.encoding.value,
                size=entry.size,
                checksum=entry.checksum,
                upserts=entry.upserts,
                deletes=entry.deletes,
                imported=entry.id in marks,
                url=url,
                expires=expires,
            )
        )
    return Page(items=items, next=page.next)


@router.post("/{number}/links")
async def make_links(request: Request, who: App, flow: FlowPath, number: int, wanted: LinksRequest) -> Page[LinkModel]:
    """Return links to Event Files and to contents of Binary Files, valid for an hour."""
    site = site_of(request)
    importing, files = await _open(site, flow, number), [_file(name) for name in wanted.files]
    _reach(who, importing).ensure(file.stream for file in files)
    stored_in, links = importing.movement.stored_in, await Links.of(site)
    names = [("events", str(file)) for file in files]
    names += [("binaries", _binary(name)) for name in wanted.binaries]
    made = [(name, *links.make(stored_in, kind, name)) for kind, name in names]
    return Page(items=[LinkModel(name=name, url=url, expires=expires) for name, url, expires in made])


@router.post("/{number}/status")
async def report(request: Request, who: App, flow: FlowPath, number: int, reports: Reports) -> Page[Outcome]:
    """Say what became of Event Files. Saying it again changes nothing."""
    importing = await _open(site_of(request), flow, number)
    statuses = [_status(one) for one in reports.files]
    _reach(who, importing).ensure(one.file.stream for one in statuses)
    taken = await importing.report(statuses)
    pairs = zip(reports.files, taken, strict=True)
    return Page(items=[Outcome(file=one.file, outcome=outcome.value) for one, outcome in pairs])


@router.post("/{number}/progress")
async def put_progress(
    request: Request, _: App, flow: FlowPath, number: int, progress: ProgressReport
) -> ProgressReport:
    """Say how far the app is; the answer has the percent that counts."""
    importing = await _open(site_of(request), flow, number)
    percent = await importing.put_progress(progress.percent, progress.message)
    return ProgressReport(percent=percent, message=progress.message)


@router.post("/{number}/settle")
async def settle(request: Request, who: App, flow: FlowPath, number: int, settlement: Settlement) -> ImportState:
    """End the import: with SUCCESS when every file is reported, otherwise with the reason for those that are not."""
    site = site_of(request)
    importing = await _open(site, flow, number)
    if who.scopes:
        _reach(who, importing).ensure(file.stream for file in await importing.entries())
    await importing.settle(settlement.status, settlement.reason)
    return await _state(site, flow, number)


@router.get("/mappings/{kind:path}/find", include_in_schema=False)
async def refuse_find(_: App) -> None:
    """Say that ids are sent with POST. A kind whose name ends with `/find` is percent-encoded twice, as names with `/` are."""
    raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, "Send the ids with POST.", headers={"Allow": "POST"})


@router.get("/mappings/{kind:path}")
async def list_mappings(
    request: Request, who: App, flow: FlowPath, kind: str, after: After = None, limit: Limit = 1000
) -> Page[Mapping]:
    """List the id map of one kind: ids at the source, and at the destination."""
    async with open_id_map(site_of(request).runtime, flow) as ids:
        kind = kind_of(ids, kind)
        await _ensure_kind(request, who, flow, kind)
        return page_of_kind(ids, kind, after, limit)


@router.post("/mappings/{kind:path}/find")
async def find_mappings(request: Request, who: App, flow: FlowPath, kind: str, keys: MappingKeys) -> Page[Mapping]:
    """Return the entries of these ids of the source. Those that have none are left out."""
    async with open_id_map(site_of(request).runtime, flow) as ids:
        kind = kind_of(ids, kind)
        await _ensure_kind(request, who, flow, kind)
        found = [(source, ids.entry(kind, source)) for source in dict.fromkeys(keys.sources)]
    return Page(items=[Mapping.of(source, entry) for source, entry in found if entry is not None])


def _reach(who: Identity, importing: AppImport) -> Reach:
    return Reach(who.scopes, importing.movement.scopes)


async def _ensure_kind(request: Request, who: Identity, flow: FlowName, kind: str) -> None:
    """ProblemError unless the token reaches the ids of this kind: those of the stream of its name."""
    if who.scopes:
        _reach(who, await _open(site_of(request), flow)).ensure([kind])


async def _open(site: Site, flow: FlowName, number: int | None = None) -> AppImport:
    return await AppImport.open(site.runtime.store, site.runtime.flows, flow, number)


async def _state(site: Site, flow: FlowName, number: int | None = None) -> ImportState:
    importing = await _open(site, flow, number)
    movement = importing.movement
    counts = counts_at_end(movement)  # nothing is taken for it any more
    if counts is None:
        marks, lists = await importing.marks(), sorted(movement.file_lists.items())
        known = counts_under_way(movement, marks)
        counts = {
            label: known.get(label) or await site.listings.count(importing.flow, key, marks) for label, key in lists
        }
    groups = [GroupState(label=label, files=one.listed, imported=one.imported or 0) for label, one in counts.items()]
    return ImportState(
        flow=flow,
        movement=movement.number,
        original_movement=movement.original or None,
        status=movement.status.value,
        settled=movement.settled,
        exported=movement.exported,
        groups=groups,
        percent=100.0 if movement.status is Status.SUCCESS else await importing.percent(),
        version=_version(movement),
    )


async def _latest_version(site: Site, flow: FlowName) -> str:
    """Return the version of the latest Movement; empty while there is none."""
    found = await site.runtime.flows.read_flow(flow)
    return _version(await site.runtime.flows.read_movement(flow, found.movements)) if found.movements else ""


def _version(movement: Movement) -> str:
    """Return what changes with every group that is complete, and with the status. Only the Movement is read for it."""
    lists = hashlib.sha256("\n".join(sorted(movement.file_lists.values())).encode()).hexdigest()[:12]
    return f"{movement.number}.{movement.status.value}.{lists}.{movement.exported}"


def _status(one: Report) -> FileStatus:
    refused = [RefusedRecord(refusal.line, refusal.reason, refusal.column) for refusal in one.refused]
    return FileStatus(_file(one.file), ReportedStatus(one.status), one.final, one.reason, refused)


def _file(text: str) -> EventFileId:
    try:
        return EventFileId.parse(text)
    except ValueError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.") from error


def _binary(text: str) -> BinaryId:
    try:
        return parse_binary_id(text)
    except ValueError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.") from error
