"""Downloads by signed links, with ranges, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.event_files.header import encode_header
from pipeline.domain import object_keys
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, ObjectKey, parse_binary_id
from pipeline.http.api.paths import FlowPath
from pipeline.http.links import Links
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of

OpenFrom: TypeAlias = Callable[[int], AbstractAsyncContextManager[AsyncIterable[bytes]]]
"""Opens bytes from an offset on."""
_RANGE = re.compile(r"bytes=(?!-$)(\d{0,18})-(\d{0,18})", re.ASCII)

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
        Literal["stored", "plain"],
        Query(description="`plain`: an Event File is sent as JSON lines, not compressed, with the names of columns."),
    ] = "stored",
) -> Response:
    """Return an Event File as it is stored, or the content of a Binary File. One range may be asked for.

    What is not sent as it is stored has no ranges.
    """
    site = site_of(request)
    (await Links.of(site)).check(flow, kind, name, expires, signature)
    wanted = None if "if-range" in request.headers else request.headers.get("range")  # there is no validator to compare
    try:
        if kind == "binaries":
            return await _content(site, flow, parse_binary_id(name), wanted)
        key = object_keys.event_file_key(flow, EventFileId.parse(name))
    except ValueError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{error}.") from error
    info = await site.runtime.store.stat(key)
    if info is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Flow {flow!r} has no Event File {name}.")
    if encoding == "plain":
        return StreamingResponse(plain(site, key), media_type="application/jsonl")
    return _answer(lambda start: site.runtime.store.open_stream(key, start=start), info.size, wanted)


async def _content(site: Site, flow: FlowName, binary: BinaryId, wanted: str | None) -> Response:
    """Return a Binary File. If it is not where it was, the connection ends early, and the next request finds it."""
    size = await site.contents.of(flow).size(binary)
    if size is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Flow {flow!r} has no Binary File {binary}.")

    @asynccontextmanager
    async def open_from(start: int) -> AsyncIterator[AsyncIterable[bytes]]:
        try:
            async with site.contents.of(flow).open(binary, start=start) as pieces:
                yield pieces
        except DamagedError:
            site.contents.forget(flow)
            raise

    return _answer(open_from, size, wanted)


def _answer(open_from: OpenFrom, size: int, wanted: str | None) -> Response:
    """Return all bytes, or the range that the header `Range` asks for."""
    start, end = _range(wanted, size)
    headers = {"accept-ranges": "bytes", "content-length": str(end - start), "cache-control": "private, no-store"}
    status = HTTPStatus.OK
    if wanted is not None and _RANGE.fullmatch(wanted):
        headers["content-range"], status = f"bytes {start}-{end - 1}/{size}", HTTPStatus.PARTIAL_CONTENT
    return StreamingResponse(_pieces(open_from, start, end, size), status, headers, "application/octet-stream")


def _range(wanted: str | None, size: int) -> tuple[int, int]:
    """Return the first byte and the one after the last. A header that asks for something else is passed over (RFC 9110)."""
    match = _RANGE.fullmatch(wanted or "")
    if not match:
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


async def _pieces(open_from: OpenFrom, start: int, end: int, size: int) -> AsyncIterator[bytes]:
    """Yield a range. The last piece waits until all is verified, so that what is damaged never arrives as a whole."""
    left, last = end - start, b""
    async with open_from(start) as stream:
        async for piece in stream:
            if last:
                yield last
            last = piece[:left]
            left -= len(last)
            if not left and end < size:
                break
    if last:
        yield last


async def plain(site: Site, key: ObjectKey) -> AsyncIterator[bytes]:
    """Yield the lines of an Event File. Every record has names, so the header is one of format version 1."""
    reader, has_header = EventFileReader(Encoding.ZSTD, what=f"Event File {key}"), False
    async with site.runtime.store.open_stream(key) as stream:
        async for piece in stream:
            for block in reader.feed(piece):
                if reader.header is not None and not has_header:
                    yield encode_header(replace(reader.header, arrays=False))
                    has_header = True
                yield block
    reader.close()
    if reader.header is not None and not has_header:
        yield encode_header(replace(reader.header, arrays=False))
