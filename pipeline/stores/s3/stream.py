"""An object read as a stream that outlives its connections.

A connection that is cut is replaced by another one that goes on where it ended: Range from there, If-Match the version
that was begun. So a stream is of one version, and a body that is too short is never taken for a whole one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
from botocore.exceptions import ClientError

from pipeline.aws.errors import status_of, translated
from pipeline.aws.retries import wait_seconds
from pipeline.domain.errors import ConflictError, RefusedError, TransientError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import Version
from pipeline.stores.s3.bucket import Bucket

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

PIECE_BYTES = 512 * 1024
"""What comes over the wire is gathered into pieces of about this size: a piece costs its readers a step each."""

_PATIENCE_BYTES = 8 * 1024 * 1024
"""With each so many bytes one more cut is put up with, so that a long stream may be cut more often than a short one."""

_NOT_SATISFIABLE = 416


class S3Stream:
    """The bytes of `key` from `start` on, as an async iterator of pieces. `open` comes first, `close` last.

    After `open`, `size` is the number of bytes that are still to come, `version` the version they are of, and
    `crc32` the checksum of the whole object where the store knows it (None for a range of it).
    """

    def __init__(self, bucket: Bucket, key: ObjectKey, start: int = 0) -> None:
        self._bucket = bucket
        self._key = key
        self._full = bucket.full(key)
        self._request = bucket.request(f"read {key}", "s3:GetObject", self._full)
        self._begin = self._position = self._end = start
        self._response: Any = None
        self._cuts = 0
        self.version = Version("")
        self.crc32: str | None = None

    @property
    def size(self) -> int:
        return self._end - self._position

    async def open(self) -> None:
        """Make the first request. AbsentError when there is no such object."""
        answer = await self._bucket.ask(self._request, self._get)
        if answer is None:
            return  # `start` is at or past the end
        self._response = answer["Body"].raw_stream
        self._check_range(answer)
        self.version = Version(answer["ETag"])
        self._end = self._begin + answer["ContentLength"]
        checksum = answer.get("ChecksumCRC32", "-")
        self.crc32 = checksum if "-" not in checksum else None  # S3 marks a checksum of the parts' checksums so

    def close(self) -> None:
        """Let go of the connection; one in the middle of a body is of no more use."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        gathered: list[bytes] = []
        length = 0
        while self._position < self._end and length < PIECE_BYTES:
            if data := await self._next_data():
                self._position += len(data)
                length += len(data)
                gathered.append(data)
        if not gathered:
            raise StopAsyncIteration
        return b"".join(gathered)

    async def _next_data(self) -> bytes:
        """Return what has come in next; nothing when a cut had to be mended first."""
        try:
            with translated(self._request):
                data: bytes = await self._response.content.readany()
                if not data:
                    raise EOFError(f"the body ended {self.size} bytes too early")
                return data
        except TransientError as error:
            await self._go_on(error)
            return b""

    async def _go_on(self, error: TransientError) -> None:
        """Replace a connection that was cut, unless that has happened too often."""
        self._cuts += 1
        received = self._position - self._begin
        if self._cuts >= self._bucket.options.tries + received // _PATIENCE_BYTES:
            raise TransientError(f"{error}; cut {self._cuts} times in {received} bytes") from error
        self.close()
        await anyio.sleep(wait_seconds(self._cuts, self._bucket.options))
        try:
            answer = await self._bucket.ask(self._request, self._get)
        except ConflictError as replaced:
            raise ConflictError(f"the object {self._key} was replaced while it was read") from replaced
        if answer is None:
            raise TransientError(f"the store did not go on where {self._key} was cut, at {self._position}") from error
        self._response = answer["Body"].raw_stream
        self._check_range(answer)

    def _check_range(self, answer: GetObjectOutputTypeDef) -> None:
        """Refuse an answer that does not begin where it was asked to: a server MAY ignore Range (RFC 9110, 14.2)."""
        if self._position and not answer.get("ContentRange", "").startswith(f"bytes {self._position}-"):
            raise RefusedError(f"the store gives {self._key} from its start only; use one that reads ranges")

    async def _get(self) -> GetObjectOutputTypeDef | None:
        """Ask for what is still to come; None when there is nothing there."""
        condition: dict[str, Any] = {"IfMatch": self.version} if self.version else {"ChecksumMode": "ENABLED"}
        if self._position:
            condition["Range"] = f"bytes={self._position}-"
        try:
            return await self._bucket.client.get_object(Bucket=self._bucket.name, Key=self._full, **condition)
        except ClientError as error:
            if status_of(error) == _NOT_SATISFIABLE:
                return None
            raise
