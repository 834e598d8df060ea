"""Downloads by signed links, with ranges, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from pipeline.codec.event_files.compression import Decoder
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, ObjectKey, parse_binary_id
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.http.api.paths import FlowPath
from pipeline.http.links import Links
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.ports.reporter import SilentReporter

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")

router = APIRouter(prefix="/downloads", tags=["apps"])


@router.get("/{flow}/{kind}/{name:path}", response_class=StreamingResponse)
async def download(
    request: Request,
    flow: FlowPath,
    kind: Literal["events", "binaries"],
    name: str,
    expires: int,
    signature: str,
    encoding: Annotated[
        Literal["stored", "plain"], Query(description="`plain`: an Event File is sent as JSON lines, not compressed.")
    ] = "stored",
) -> Response:
    """Return an Event File as it is stored, or the content of a Binary File. One range may be asked for.

    What is not sent as it is stored has no ranges.
    """
    site = site_of(request)
    (await Links.of(site)).check(flow, kind, name, expires, signature)
    try:
        key = (
            object_keys.event_file_key(flow, EventFileId.parse(name))
            if kind == "events"
            else object_keys.binary_key(flow, parse_binary_id(name))
        )
    except ValueError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{error}.") from error
    info = await site.runtime.store.stat(key)
    if info is not None and kind == "events" and encoding == "plain":
        return StreamingResponse(_plain(site, key), media_type="application/jsonl")
    if info is not None:
        return _stream(site, key, info.size, request.headers.get("range"))
    if kind == "binaries":
        return await _packed(site, flow, BinaryId(name))
    raise ProblemError(HTTPStatus.NOT_FOUND, f"Flow {flow!r} has no Event File {name}.")


def _stream(site: Site, key: ObjectKey, size: int, wanted: str | None) -> Response:
    start, end = _range(wanted, size)
    headers = {"accept-ranges": "bytes", "content-length": str(end - start), "cache-control": "private, no-store"}
    if wanted is None or not _RANGE.fullmatch(wanted):
        return StreamingResponse(_pieces(site, key, 0, size), media_type="application/octet-stream", headers=headers)
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = _pieces(site, key, start, end)
    return StreamingResponse(pieces, HTTPStatus.PARTIAL_CONTENT, headers, "application/octet-stream")


def _range(wanted: str | None, size: int) -> tuple[int, int]:
    """Return the first byte and the one after the last. A header that asks for something else is passed over (RFC 9110)."""
    match = _RANGE.fullmatch(wanted or "")
    if not match or not (match[1] or match[2]):
        return 0, size
    first, last = match[1], match[2]
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise ProblemError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The file has {size:,} bytes.",
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


async def _pieces(site: Site, key: ObjectKey, start: int, end: int) -> AsyncIterator[bytes]:
    left = end - start
    async with site.runtime.store.open_stream(key, start=start) as stream:
        async for piece in stream:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return


async def _plain(site: Site, key: ObjectKey) -> AsyncIterator[bytes]:
    decoder = Decoder(Encoding.ZSTD)
    async with site.runtime.store.open_stream(key) as stream:
        async for piece in stream:
            for part in decoder.feed(piece):
                yield part
    decoder.close()


async def _packed(site: Site, flow: FlowName, binary: BinaryId) -> Response:
    """Return a small content, which lies in a pack with others."""
    files = BinaryFiles(site.runtime.store, flow, SilentReporter())
    try:
        async with files.open(binary) as pieces:
            content = b"".join([piece async for piece in pieces])
    except AbsentError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from error
    return Response(content, media_type="application/octet-stream")
