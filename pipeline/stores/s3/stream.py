"""Reads an object as a stream that survives cut connections.

After a cut, a new request continues at the same position (Range), on the same version (If-Match). So a stream never
mixes two versions, and a truncated body is never taken for a whole one.
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
"""About the size of a piece. Smaller pieces would cost every reader more steps."""

_BYTES_PER_RECONNECT = 8 * 1024 * 1024
"""One more reconnect is allowed per this many bytes received, so a long stream may be cut more often than a short one."""

_NOT_SATISFIABLE = 416


class S3Stream:
    """The bytes of `key` from `start` on, as an async iterator of pieces. Call `open` first and `close` last.

    After `open`, `size` is the number of bytes still to read, `version` their version, and `crc32` the checksum of the
    whole object, or None if the store does not know it or only a range is read.
    """

    def __init__(self, bucket: Bucket, key: ObjectKey, start: int = 0) -> None:
        self._bucket = bucket
        self._key = key
        self._full = bucket.full(key)
        self._request = bucket.request(f"read {key}", "s3:GetObject", self._full)
        self._start = self._position = self._end = start
        self._response: Any = None
        self._cuts = 0
        self.version = Version("")
        self.crc32: str | None = None

    @property
    def size(self) -> int:
        return self._end - self._position

    async def open(self) -> None:
        """Send the first request. AbsentError when there is no such object."""
        answer = await self._bucket.ask(self._request, self._get)
        if answer is None:
            return  # `start` is at or past the end
        self._response = answer["Body"].raw_stream
        self._check_range(answer)
        self.version = Version(answer["ETag"])
        self._end = self._start + answer["ContentLength"]
        checksum = answer.get("ChecksumCRC32", "-")
        self.crc32 = checksum if "-" not in checksum else None  # with "-" it is a checksum of the parts' checksums

    def close(self) -> None:
        """Close the connection: in the middle of a body it cannot be used again."""
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
        """Return the bytes that arrive next; none if the connection was cut and a new one opened."""
        try:
            with translated(self._request):
                data: bytes = await self._response.content.readany()
                if not data:
                    raise EOFError(f"the body ended {self.size} bytes too early")
                return data
        except TransientError as error:
            await self._reconnect(error)
            return b""

    async def _reconnect(self, error: TransientError) -> None:
        """Open a new connection at the present position, unless the stream has been cut too often."""
        self._cuts += 1
        received = self._position - self._start
        if self._cuts >= self._bucket.options.tries + received // _BYTES_PER_RECONNECT:
            raise TransientError(f"{error}; cut {self._cuts} times in {received} bytes") from error
        self.close()
        await anyio.sleep(wait_seconds(self._cuts, self._bucket.options))
        try:
            answer = await self._bucket.ask(self._request, self._get)
        except ConflictError as replaced:
            raise ConflictError(f"the object {self._key} was replaced while it was read") from replaced
        if answer is None:
            raise TransientError(
                f"the store has no bytes of {self._key} from {self._position} on, where it was cut; try again"
            ) from error
        self._response = answer["Body"].raw_stream
        self._check_range(answer)

    def _check_range(self, answer: GetObjectOutputTypeDef) -> None:
        """Refuse an answer that starts elsewhere than requested: a server MAY ignore Range (RFC 9110, 14.2)."""
        if self._position and not answer.get("ContentRange", "").startswith(f"bytes {self._position}-"):
            raise RefusedError(
                f"the store ignored the range and sent {self._key} from its start; use a store that supports ranges"
            )

    async def _get(self) -> GetObjectOutputTypeDef | None:
        """Request the rest of the object; None if there is nothing after the present position."""
        condition: dict[str, Any] = {"IfMatch": self.version} if self.version else {"ChecksumMode": "ENABLED"}
        if self._position:
            condition["Range"] = f"bytes={self._position}-"
        try:
            return await self._bucket.client.get_object(Bucket=self._bucket.name, Key=self._full, **condition)
        except ClientError as error:
            if status_of(error) == _NOT_SATISFIABLE:
                return None
            raise
