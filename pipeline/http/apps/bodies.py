"""Bodies of uploads: written to a temporary file as they come, and compared with what the request says of them."""

from __future__ import annotations

import hashlib
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO

import anyio.to_thread
from fastapi import Request

from pipeline.http.guard import check_encoding
from pipeline.http.problems import ProblemError

PIECE_BYTES = 1 << 20
IN_MEMORY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Body:
    """A body that has come as a whole. `sha256` is hexadecimal."""

    file: IO[bytes]
    size: int
    sha256: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterable[bytes]]:
        """Open the bytes from the start."""
        await anyio.to_thread.run_sync(self.file.seek, 0)
        yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await anyio.to_thread.run_sync(self.file.read, PIECE_BYTES):
            yield piece


@asynccontextmanager
async def received(request: Request, *encodings: str) -> AsyncIterator[Body]:
    """Receive the body of a request, which may be encoded in one of these ways.

    ProblemError when it is encoded in another way, when it is not what `Content-Digest` (RFC 9530) says, sha-256, or when
    there is no room for it.
    """
    check_encoding(request.headers, encodings)
    wanted = _wanted_digest(request)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        sha256, waiting, size = hashlib.sha256(), bytearray(), 0
        async for piece in request.stream():
            waiting += piece
            size += len(piece)
            if len(waiting) >= PIECE_BYTES:
                await anyio.to_thread.run_sync(_take, bytes(waiting), file, sha256)
                waiting.clear()
        await anyio.to_thread.run_sync(_take, bytes(waiting), file, sha256)
        if wanted is not None and sha256.digest() != wanted:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The body has the SHA-256 digest {sha256.hexdigest()}, not that of Content-Digest. Send it again.",
            )
        yield Body(file, size, sha256.hexdigest())


def _take(piece: bytes, file: tempfile.SpooledTemporaryFile[bytes], digest: hashlib._Hash) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise ProblemError(
            HTTPStatus.INSUFFICIENT_STORAGE,
            f"The server cannot keep the body in its temporary directory: {error.strerror}. Its operator makes room there, or "
            "names another one with TMPDIR; then send it again.",
        ) from error
    digest.update(piece)


def _wanted_digest(request: Request) -> bytes | None:
    text = request.headers.get("content-digest")
    if text is None:
        return None
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "sha-256" and value.startswith(":") and value.endswith(":"):
            try:
                return b64decode(value[1:-1], validate=True)
            except ValueError:
                break
    raise ProblemError(HTTPStatus.BAD_REQUEST, "Content-Digest has no sha-256 digest. Write sha-256=:BASE64:")
