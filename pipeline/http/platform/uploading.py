"""Uploads of the platform: an app begins one, puts its parts to signed URLs, and finalises it. The end starts a Movement.

The files become an export in the SAM dialect, in the place that is the source of the app's Flow. The documents have the
names of the members of requests, and not the paths: those are a guess.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from pipeline.assembly.apps.sam_connector import open_export
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.codec.wire import decode_document, to_document
from pipeline.connectors.sam.listing import encode_listing
from pipeline.connectors.sam.names import is_safe, parse_name
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import FlowName, ObjectKey, Phase, encode_name
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.object_keys import flow_prefix
from pipeline.http.access import known
from pipeline.http.api.paths import FlowPath
from pipeline.http.apps.bodies import received
from pipeline.http.links import LIFE, Links
from pipeline.http.platform.data import Loose
from pipeline.http.platform.transfers import own_url
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Role, Side
from pipeline.log_events import log
from pipeline.ports.object_store import OpenBody, PutCondition, list_pages
from pipeline.remote.parts import MOST_PARTS, Parts

PARTS = "/app/migration/uploads"

router = APIRouter(prefix="/app/migration/forge/v1/upload", tags=["platform"])
signed = APIRouter(prefix=PARTS, tags=["platform"])


def _hexadecimal(text: str) -> str:
    """Return a SHA-256 digest, in hexadecimal or in base64, in hexadecimal."""
    with suppress(ValueError):
        found = bytes.fromhex(text) if len(text) == 64 else b64decode(text, validate=True)
        if len(found) == hashlib.sha256().digest_size:
            return found.hex()
    raise ValueError("this is no SHA-256 digest, in hexadecimal or base64")


Digest = Annotated[str, AfterValidator(_hexadecimal), Field(max_length=64)]
Chunk = Annotated[int, Field(ge=0, lt=MOST_PARTS)]


class UrlRequest(Loose):
    """A part that is to be sent."""

    uploadId: UUID  # noqa: N815  # the platform's name
    chunkIndex: Chunk  # noqa: N815
    contentLength: int = Field(ge=0)  # noqa: N815
    contentSHA256: Digest  # noqa: N815


class Finalisation(Loose):
    """The parts of a file in their order, its name, and the label of its File Group. Without a name, it is a Binary File."""

    uploadId: UUID  # noqa: N815
    sha256CheckSumValues: list[Digest] = Field(min_length=1, max_length=MOST_PARTS)  # noqa: N815
    fullName: str = Field(default="", max_length=500)  # noqa: N815
    label: str = Field(default="DATABASE", max_length=1000)


class _File(msgspec.Struct):
    """A file that is whole; without a name, the content of a Binary File."""

    full_name: str
    label: str
    size: int
    sha256: str

    def id_of(self, upload: UUID) -> str:
        """Return its id: its name at the source."""
        return f"{'event' if self.full_name else 'binary'}_file/{upload}"


async def exporting_app(request: Request) -> Identity:
    """Return the app that calls. ProblemError when it is not that of a source, or does not reach all of it."""
    identity = await known(request)
    if identity.role is not Role.APP or identity.side is not Side.SOURCE or identity.flow is None:
        raise ProblemError(HTTPStatus.FORBIDDEN, "This needs the token of an app that is a source.")
    if identity.scopes:
        raise ProblemError(HTTPStatus.FORBIDDEN, "An export has all data: this needs a token without scopes.")
    return identity


App = Annotated[Identity, Depends(exporting_app)]


@dataclass(frozen=True, slots=True)
class Landing:
    """The export of one transfer on its way: the parts in the bucket, and the place that whole files go to."""

    site: Site
    flow: FlowName
    transfer: UUID
    location: str

    @classmethod
    async def of(cls, site: Site, flow: FlowName, transfer: UUID) -> Landing:
        """Return the landing of a transfer. ProblemError when the source of the Flow takes no files."""
        source = (await site.runtime.flows.read_flow(flow)).source
        if not source.startswith("sam:"):
            raise ProblemError(
                HTTPStatus.CONFLICT,
                f"The source of Flow {flow!r} is {source}, which takes no uploads of the platform. Create the Flow with a source "
                "such as sam:DIRECTORY.",
            )
        return cls(site, flow, transfer, source)

    @property
    def _prefix(self) -> str:
        return f"{flow_prefix(self.flow)}platform/{self.transfer}/"

    def parts(self, upload: UUID) -> Parts:
        """Return the parts of an upload."""
        return Parts(self.site.runtime.store, self._prefix, str(upload))

    async def file(self, upload: UUID) -> _File | None:
        """Return the file of an upload; None while it is not whole."""
        key = ObjectKey(f"{self._prefix}files/{upload}.json")
        try:
            return decode_document((await self.site.runtime.store.get(key)).data, _File, key)
        except AbsentError:
            return None

    async def finalise(self, upload: UUID, file: _File, body: OpenBody) -> None:
        """Store a file at the source, and then that it is whole. ProblemError when it is there with other content."""
        name = file.id_of(upload)
        async with open_export(self.location) as storage:
            await storage.create()
            async with storage.writing():
                try:
                    await storage.put(name, body, PutCondition.ABSENT)
                except ConflictError:  # it was stored before, by a call that was interrupted
                    if await _digest(lambda: storage.open_stream(name)) != file.sha256:
                        raise ProblemError(
                            HTTPStatus.CONFLICT, f"The upload {upload} is stored with other content: begin another one."
                        ) from None
        key = ObjectKey(f"{self._prefix}files/{upload}.json")
        with suppress(ConflictError):
            await self.site.runtime.store.put(key, msgspec.json.encode(to_document(file)), PutCondition.ABSENT)
        await self.parts(upload).forget()

    async def complete(self) -> None:
        """List the files at the source. ProblemError when there is none, or when other ones are listed."""
        prefix = f"{self._prefix}files/"
        keys = [info.key async for page in list_pages(self.site.runtime.store, prefix) for info in page]
        uploads = [UUID(key.removeprefix(prefix).removesuffix(".json")) for key in keys]
        found = [(upload, await self.file(upload)) for upload in uploads]
        files = [(upload, file) for upload, file in found if file is not None and file.full_name]
        if not files:
            raise ProblemError(HTTPStatus.CONFLICT, f"The transfer {self.transfer} has no Event File that is whole.")
        listing = encode_listing(map(_entry, sorted(files, key=lambda one: (_order(one[1].full_name), one[0]))))
        name = f"listing/{self.transfer}-metadata.json"
        async with open_export(self.location) as storage, storage.writing():
            try:
                await storage.put(name, listing, PutCondition.ABSENT)
            except ConflictError:
                if (await storage.get(name)).data != listing:
                    raise ProblemError(
                        HTTPStatus.CONFLICT, f"The transfer {self.transfer} is complete: begin another one."
                    ) from None


def _entry(one: tuple[UUID, _File]) -> Mapping[str, object]:
    upload, file = one
    entry = {"fileId": file.id_of(upload), "fullName": file.full_name, "label": file.label}
    return {**entry, "size": file.size, "sha256": file.sha256}


def _order(full_name: str) -> tuple[str, bool, int]:
    """Return what sorts files of a table: the snapshot before changes, and each in the order of its chunks."""
    name = parse_name(full_name)
    return (full_name, False, 0) if name is None else (name.table, name.phase is Phase.INCREMENTAL, name.chunk)


@router.post("/{transfer}")
async def initialise(request: Request, who: App, transfer: UUID) -> dict[str, UUID]:
    """Begin the upload of one file of a transfer. The app chooses the id of the transfer."""
    await Landing.of(site_of(request), FlowName(who.flow or ""), transfer)
    return {"uploadId": uuid4()}


@router.post("/{transfer}/url")
async def part_url(request: Request, who: App, transfer: UUID, wanted: UrlRequest) -> dict[str, str]:
    """Return a signed URL to which a part is PUT, within an hour and without a token."""
    site, flow = site_of(request), FlowName(who.flow or "")
    landing = await Landing.of(site, flow, transfer)
    if await landing.file(wanted.uploadId) is not None:
        raise ProblemError(HTTPStatus.CONFLICT, f"The upload {wanted.uploadId} is final. Nothing can be added.")
    name = _name(transfer, wanted.uploadId, wanted.chunkIndex, wanted.contentSHA256, wanted.contentLength)
    query = (await Links.of(site)).query(flow, "upload", name, site.clock.now() + LIFE)
    path = f"{site.root}{PARTS}/{quote(encode_name(flow), safe='')}/{transfer}/{wanted.uploadId}/{wanted.chunkIndex}"
    return {"url": f"{own_url(request, path)}?sha256={wanted.contentSHA256}&length={wanted.contentLength}&{query}"}


@signed.put("/{flow}/{transfer}/{upload}/{chunk}")
async def put_part(
    request: Request,
    flow: FlowPath,
    transfer: UUID,
    upload: UUID,
    chunk: Annotated[int, Path(ge=0, lt=MOST_PARTS)],
    sha256: Annotated[str, Query(max_length=64)],
    length: int,
    expires: int,
    signature: str,
) -> Response:
    """Store a part, if it is the one that the URL was made for. Its ETag is its digest."""
    site = site_of(request)
    (await Links.of(site)).check(flow, "upload", _name(transfer, upload, chunk, sha256, length), expires, signature)
    landing = await Landing.of(site, flow, transfer)
    async with received(request) as body:
        if (body.size, body.sha256) != (length, sha256):
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The part has {body.size:,} bytes and the SHA-256 digest {body.sha256}; {length:,} bytes with {sha256} were "
                "announced. Send it again.",
            )
        await landing.parts(upload).put(chunk, body.open, body.sha256)
    return Response(status_code=HTTPStatus.OK, headers={"ETag": f'"{sha256}"'})


@router.post("/{transfer}/finalise")
async def finalise(request: Request, who: App, transfer: UUID, wanted: Finalisation) -> dict[str, str]:
    """Put a file together from its parts; return its id, by which rows name a Binary File. Saying it again changes nothing."""
    site = site_of(request)
    landing = await Landing.of(site, FlowName(who.flow or ""), transfer)
    if wanted.fullName and not is_safe(wanted.fullName):
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{wanted.fullName[:200]!r} cannot be the name of a file.")
    if (stored := await landing.file(wanted.uploadId)) is not None:
        if (stored.full_name, stored.label) != (wanted.fullName, wanted.label):
            raise ProblemError(HTTPStatus.CONFLICT, f"The upload {wanted.uploadId} is final as {stored.full_name!r}.")
        return {"fileId": stored.id_of(wanted.uploadId)}
    body, size = await landing.parts(wanted.uploadId).joined(wanted.sha256CheckSumValues)
    if size > site.limits.upload_bytes:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A file may have {site.limits.upload_bytes:,} bytes, not {size:,}."
        )
    file = _File(wanted.fullName, wanted.label, size, await _digest(body))
    await landing.finalise(wanted.uploadId, file, body)
    return {"fileId": file.id_of(wanted.uploadId)}


@router.post("/{transfer}/complete", status_code=HTTPStatus.NO_CONTENT)
async def complete(request: Request, who: App, transfer: UUID) -> None:
    """End the export: its Event Files are listed, and a Movement of them begins, or waits for the one under way."""
    site, flow = site_of(request), FlowName(who.flow or "")
    await (await Landing.of(site, flow, transfer)).complete()
    movement, _ = await start(flow, queue=True, who=who.name, settings=site.runtime.settings)
    log.info("action_taken", flow=flow, verb=Verb.QUEUE.value, by=who.name, why=f"movement {movement.number}")


async def _digest(body: OpenBody) -> str:
    digest = hashlib.sha256()
    async with body() as pieces:
        async for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _name(transfer: UUID, upload: UUID, chunk: int, sha256: str, length: int) -> str:
    return f"{transfer}/{upload}/{chunk}/{sha256}/{length}"
