"""The app that uploads: it begins, puts files and contents, completes groups, and ends."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from starlette.responses import Response

from pipeline.assembly.commands.lifecycle.wishes import early_end
from pipeline.domain.ids import FlowName, StreamName, known_name
from pipeline.http.access import require_app
from pipeline.http.api.paths import FlowPath
from pipeline.http.apps.bodies import received
from pipeline.http.apps.reach import Reach
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Side
from pipeline.remote.app_export import AppExport
from pipeline.remote.uploads import Upload, UploadedColumn, UploadedStream

MOST_STREAMS = 10_000
MOST_FILES = 10**9

router = APIRouter(prefix="/apps/{flow}/export", tags=["apps"])
App = Annotated[Identity, Depends(require_app(Side.SOURCE))]
FileNumber = Annotated[int, Path(ge=0, le=MOST_FILES)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ColumnModel(_Strict):
    """A column; `type` is one of the Event File format."""

    name: str = Field(min_length=1, max_length=1000)
    type: str = Field(max_length=100)
    nullable: StrictBool = True


class StreamModel(_Strict):
    """A stream. `label` is that of its group, the stream's name by default; `scopes` are kinds of its data, such as pii.

    `mode` "full": the files hold all rows, and what is missing is gone. "changes": they hold what has changed.
    """

    stream: str = Field(min_length=1, max_length=1000)
    columns: list[ColumnModel] = Field(min_length=1, max_length=10_000)
    primary_keys: list[str] = Field(min_length=1, max_length=100)
    label: str = Field(default="", max_length=1000)
    mode: Literal["full", "changes"] = "full"
    scopes: list[str] = Field(default_factory=list, max_length=100)


class BeginRequest(_Strict):
    """The streams of the export."""

    streams: list[StreamModel] = Field(min_length=1, max_length=MOST_STREAMS)


class StreamState(BaseModel):
    """A stream: the numbers of the files that are stored, and whether its group is complete."""

    stream: str
    label: str
    files: list[int]
    complete: bool


class ExportState(BaseModel):
    """How far the export is: an app that was interrupted goes on with the files that are missing.

    `original_movement` is the first attempt, of which this Movement is a re-run.
    """

    flow: str
    movement: int
    original_movement: int | None
    status: str
    settled: bool
    exported: bool
    streams: list[StreamState]


class StoredFile(BaseModel):
    """A file that is stored now. `sha256` is that of the body as it was sent."""

    stream: str
    number: int
    size: int
    sha256: str
    new: bool


class GroupFiles(_Strict):
    """How many files each stream of the group has."""

    files: dict[str, Annotated[StrictInt, Field(ge=0)]] = Field(max_length=MOST_STREAMS)


class Failure(_Strict):
    """Why the app cannot export."""

    reason: str = Field(min_length=1, max_length=2000)


@router.post("", status_code=HTTPStatus.CREATED)
async def begin(request: Request, who: App, flow: FlowPath, wanted: BeginRequest) -> ExportState:
    """Begin the export of a Movement: a new one, or the one that an operator has started."""
    runtime = site_of(request).runtime
    streams = [
        UploadedStream(
            one.stream,
            [UploadedColumn(column.name, column.type, column.nullable) for column in one.columns],
            one.primary_keys,
            one.label,
            one.mode,
            one.scopes,
        )
        for one in wanted.streams
    ]
    _reach(who, streams).ensure(one.stream for one in streams)
    if who.scopes and (latest := await runtime.flows.latest(await runtime.flows.read_flow(flow))):
        moved = {*latest.states, *latest.scopes}
        Reach(who.scopes, latest.scopes).ensure(one.stream for one in streams if one.stream in moved)
    async with runtime.exports() as exports:
        export = await AppExport.begin(runtime.store, runtime.flows, exports, flow, streams)
    return await _state(export)


@router.get("/{number}")
async def read_export(request: Request, _: App, flow: FlowPath, number: int) -> ExportState:
    """Return how far the export is, or how its Movement has settled."""
    site = site_of(request)
    movement = await site.runtime.flows.read_of(await site.runtime.flows.read_flow(flow), number)
    if movement.settled:
        return await _state(AppExport(site.runtime.store, site.runtime.flows, movement))
    return await _state(await open_export(site, flow, number))


@router.put("/{number}/streams/{stream:path}/files/{file}", status_code=HTTPStatus.CREATED)
async def put_file(
    request: Request, response: Response, who: App, flow: FlowPath, number: int, stream: str, file: FileNumber
) -> StoredFile:
    """Store a file of records: JSON lines, as they are or compressed with zstd or gzip. Files are numbered from 0 on.

    A file is stored once: sending it again changes nothing, and is answered with 200; sending another one, with 409.
    """
    export, upload, name = await open_file(request, who, flow, number, stream, file)
    async with received(request, "gzip", "zstd") as body:
        new = await export.put(upload, body.open, body.sha256)
        response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
        return StoredFile(stream=name, number=file, size=body.size, sha256=body.sha256, new=new)


@router.post("/{number}/groups/{label:path}/complete")
async def complete(
    request: Request, who: App, flow: FlowPath, number: int, label: str, group: GroupFiles
) -> ExportState:
    """Say that a group has all its files. It is exported and announced to importers, while others are still uploaded."""
    export = await open_export(site_of(request), flow, number)
    await _ensure_reached(who, export, label)
    await export.complete(label, group.files)
    return await _state(export)


@router.post("/{number}/end")
async def end(request: Request, who: App, flow: FlowPath, number: int) -> ExportState:
    """Say that all groups are complete. Once they are exported, this changes nothing, also when the Movement has settled."""
    runtime = site_of(request).runtime
    export = await AppExport.open(runtime.store, runtime.flows, flow, number, to_end=True)
    await _ensure_reached(who, export)
    await export.end()
    return await _state(export)


@router.post("/{number}/fail")
async def fail(request: Request, who: App, flow: FlowPath, number: int, failure: Failure) -> ExportState:
    """Say that the app cannot export: the Movement ends as FAILED, with the reason."""
    site = site_of(request)
    export = await open_export(site, flow, number)
    await _ensure_reached(who, export)
    movement = await export.fail(failure.reason, early_end(site.runtime))
    return await _state(AppExport(site.runtime.store, site.runtime.flows, movement))


async def open_export(site: Site, flow: FlowName, number: int) -> AppExport:
    """Open the export of a Movement that has not settled."""
    return await AppExport.open(site.runtime.store, site.runtime.flows, flow, number)


async def open_file(
    request: Request, who: Identity, flow: FlowName, number: int, stream: str, file: int
) -> tuple[AppExport, Upload, StreamName]:
    """Open the export of a Movement to which a file may be added; return it, the file, and the stream, named as in a path."""
    export = await open_export(site_of(request), flow, number)
    found = await export.stream(stream)
    _reach(who, [found]).ensure([found.stream])
    name = StreamName(found.stream)
    return export, Upload.file(name, file), name


def _reach(who: Identity, streams: Collection[UploadedStream]) -> Reach:
    return Reach(who.scopes, {StreamName(one.stream): one.scopes for one in streams})


async def _ensure_reached(who: Identity, export: AppExport, group: str | None = None) -> None:
    """ProblemError unless the token reaches all streams of the export, or of a group, named as in a path."""
    streams = (await export.streams()).values()
    label = None if group is None else known_name(group, {one.group for one in streams})
    _reach(who, streams).ensure(one.stream for one in streams if label in (None, one.group))


async def _state(export: AppExport) -> ExportState:
    streams = [
        StreamState(
            stream=name,
            label=stream.group,
            files=list(await export.uploads.files(StreamName(name))),
            complete=await export.uploads.group(stream.group) is not None,
        )
        for name, stream in (await export.streams()).items()
    ]
    movement = export.movement
    return ExportState(
        flow=movement.flow,
        movement=movement.number,
        original_movement=movement.original or None,
        status=movement.status.value,
        settled=movement.settled,
        exported=movement.exported,
        streams=streams,
    )
