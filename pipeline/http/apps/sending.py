"""What an app that uploads sends beside whole files of records: contents of Binary Files, and both in parts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from pipeline.http.api.models import Page
from pipeline.http.api.paths import FlowPath, Limit
from pipeline.http.apps.bodies import received
from pipeline.http.apps.exporting import App, FileNumber, open_export, open_file
from pipeline.http.site import site_of
from pipeline.remote.app_export import AppExport
from pipeline.remote.parts import MOST_PARTS
from pipeline.remote.uploads import CONTENT_NAME, Upload

router = APIRouter(prefix="/apps/{flow}/export", tags=["apps"])

ContentName = Annotated[
    str,
    Path(
        pattern=f"^{CONTENT_NAME.pattern}$",
        description="A name that stands for these bytes alone, such as a digest or an id with a version.",
    ),
]
PartNumber = Annotated[int, Path(ge=0, lt=MOST_PARTS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, in hexadecimal.")]


class StoredContent(BaseModel):
    """A content that is stored now."""

    name: str
    size: int
    sha256: str
    new: bool


class ContentModel(BaseModel):
    """A content of this Movement."""

    name: str
    size: int


class PartModel(BaseModel):
    """A part that is stored."""

    number: int
    size: int
    sha256: str


class StoredPart(PartModel):
    """A part that is stored now."""

    new: bool


class Completion(BaseModel):
    """The digest of each part, from part 0 on, and that of the whole."""

    model_config = ConfigDict(extra="forbid")

    parts: list[Digest] = Field(min_length=1, max_length=MOST_PARTS)
    sha256: Digest


class Joined(BaseModel):
    """What was put together."""

    size: int
    sha256: str
    new: bool


@router.get("/{number}/contents")
async def list_contents(
    request: Request,
    _: App,
    flow: FlowPath,
    number: int,
    after: Annotated[str, Query(max_length=200, description="The cursor `next` of the page before.")] = "",
    limit: Limit = 1000,
) -> Page[ContentModel]:
    """List the contents that are stored for this Movement, by name."""
    export = await open_export(site_of(request), flow, number)
    found = await export.uploads.contents(after, limit)
    items = [ContentModel(name=name, size=size) for name, size in found]
    return Page(items=items, next=items[-1].name if len(items) == limit else None)


@router.put("/{number}/contents/{name}", status_code=HTTPStatus.CREATED)
async def put_content(
    request: Request, response: Response, _: App, flow: FlowPath, number: int, name: ContentName
) -> StoredContent:
    """Store a content, to which records refer by its name: `{"content": NAME}`.

    It is stored once: sending it again changes nothing, and is answered with 200; sending another one, with 409.
    """
    export = await open_export(site_of(request), flow, number)
    async with received(request) as body:
        new = await export.put(Upload.content(name), body.open, body.sha256)
        response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
        return StoredContent(name=name, size=body.size, sha256=body.sha256, new=new)


@router.put("/{number}/contents/{name}/parts/{part}", status_code=HTTPStatus.CREATED)
async def put_content_part(
    request: Request, response: Response, _: App, flow: FlowPath, number: int, name: ContentName, part: PartNumber
) -> StoredPart:
    """Store a part of a content, numbered from 0 on. Parts may come in any order, and again."""
    export = await open_export(site_of(request), flow, number)
    return await _put_part(request, response, export, Upload.content(name), part)


@router.get("/{number}/contents/{name}/parts")
async def list_content_parts(
    request: Request, _: App, flow: FlowPath, number: int, name: ContentName
) -> Page[PartModel]:
    """List the parts of a content that are stored, so that an app that was interrupted sends the others."""
    return await _list_parts(await open_export(site_of(request), flow, number), Upload.content(name))


@router.post("/{number}/contents/{name}/complete", status_code=HTTPStatus.CREATED)
async def complete_content(
    request: Request, response: Response, _: App, flow: FlowPath, number: int, name: ContentName, wanted: Completion
) -> Joined:
    """Put a content together from its parts. Nothing is stored when the whole has another digest (422)."""
    export = await open_export(site_of(request), flow, number)
    return await _complete(request, response, export, Upload.content(name), wanted)


@router.put("/{number}/streams/{stream:path}/files/{file}/parts/{part}", status_code=HTTPStatus.CREATED)
async def put_file_part(
    request: Request,
    response: Response,
    who: App,
    flow: FlowPath,
    number: int,
    stream: str,
    file: FileNumber,
    part: PartNumber,
) -> StoredPart:
    """Store a part of a file of records, numbered from 0 on. Parts may come in any order, and again."""
    export, upload, _ = await open_file(request, who, flow, number, stream, file)
    return await _put_part(request, response, export, upload, part)


@router.get("/{number}/streams/{stream:path}/files/{file}/parts")
async def list_file_parts(
    request: Request, who: App, flow: FlowPath, number: int, stream: str, file: FileNumber
) -> Page[PartModel]:
    """List the parts of a file that are stored, so that an app that was interrupted sends the others."""
    export, upload, _ = await open_file(request, who, flow, number, stream, file)
    return await _list_parts(export, upload)


@router.post("/{number}/streams/{stream:path}/files/{file}/complete", status_code=HTTPStatus.CREATED)
async def complete_file(
    request: Request,
    response: Response,
    who: App,
    flow: FlowPath,
    number: int,
    stream: str,
    file: FileNumber,
    wanted: Completion,
) -> Joined:
    """Put a file together from its parts. Nothing is stored when the whole has another digest (422)."""
    export, upload, _ = await open_file(request, who, flow, number, stream, file)
    return await _complete(request, response, export, upload, wanted)


async def _put_part(request: Request, response: Response, export: AppExport, upload: Upload, part: int) -> StoredPart:
    async with received(request) as body:
        new = await export.put_part(upload, part, body.open, body.sha256)
        response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
        return StoredPart(number=part, size=body.size, sha256=body.sha256, new=new)


async def _list_parts(export: AppExport, upload: Upload) -> Page[PartModel]:
    parts = await export.uploads.parts(upload).list()
    return Page(items=[PartModel(number=one.number, size=one.size, sha256=one.sha256) for one in parts])


async def _complete(
    request: Request, response: Response, export: AppExport, upload: Upload, wanted: Completion
) -> Joined:
    most = site_of(request).limits.upload_bytes
    size, new = await export.join(upload, wanted.parts, wanted.sha256, most_bytes=most)
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    return Joined(size=size, sha256=wanted.sha256, new=new)
