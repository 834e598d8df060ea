"""Objects stored in parts (multi-part upload), several parts at once.

The object appears as a whole when the upload is completed; S3 checks the condition at that moment. An upload that
fails is aborted. `abort_stale_uploads` finds the uploads of killed processes by their age.

AWS checks the condition and completes in one step. SeaweedFS 4.48 and LocalStack 4.13 check first, so of two uploads
completed at the same instant both may win there. All of them check the condition of a one-request put correctly.

(https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html)
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError, PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket, as_arguments
from pipeline.stores.s3.outcome import UploadLostError, new_metadata, settle
from pipeline.stores.s3.put import as_body, checksum

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import (
        CompletedPartTypeDef,
        CompleteMultipartUploadOutputTypeDef,
        ListMultipartUploadsOutputTypeDef,
    )

MAX_PARTS = 10_000
"""S3's limit (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

_ABORT_SECONDS = 10.0


async def parts_of(pieces: AsyncIterable[bytes], part_bytes: int) -> AsyncIterator[bytes]:
    """Yield the pieces joined into parts of exactly `part_bytes`; the last part may be smaller. No part is empty."""
    gathered: list[memoryview] = []
    room = part_bytes
    async for piece in pieces:
        rest = memoryview(piece)
        while rest:
            gathered.append(rest[:room])
            rest = rest[room:]
            room -= len(gathered[-1])
            if not room:
                yield b"".join(gathered)
                gathered, room = [], part_bytes
    if gathered:
        yield b"".join(gathered)


async def with_first(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield two parts that were already taken from an iterator, then the rest of it."""
    yield first
    yield second
    async for part in rest:
        yield part


class PartUpload:
    """One upload of one object. `room` limits the parts in flight over all uploads that share it."""

    def __init__(self, bucket: Bucket, key: ObjectKey, room: anyio.Semaphore) -> None:
        self._bucket = bucket
        self._key = key
        self._full = bucket.full(key)
        self._room = room
        self._metadata = new_metadata()
        self._upload_id = ""
        self._parts: dict[int, CompletedPartTypeDef] = {}
        self._request = bucket.request(f"store {key}", "s3:PutObject", self._full)

    async def put(self, parts: AsyncIterator[bytes], condition: PutCondition | Version) -> Version:
        """Store all `parts`, if `condition` holds at the end. All parts but the last have one size."""
        answer = await self._bucket.ask(self._request, self._create)
        self._upload_id = answer["UploadId"]
        try:
            with unwrap_exception_group():
                await self._send_all(parts)
            return await self._complete(condition)
        except BaseException:
            await self._abort()
            raise

    def _create(self):  # type: ignore[no-untyped-def]  # the generated type has forty fields
        return self._bucket.client.create_multipart_upload(
            Bucket=self._bucket.name,
            Key=self._full,
            ChecksumAlgorithm="CRC32",
            Metadata=self._metadata,
            **self._bucket.encryption,
        )

    async def _send_all(self, parts: AsyncIterator[bytes]) -> None:
        async with anyio.create_task_group() as tasks:
            async for part in parts:
                number = len(self._parts) + 1
                if number > MAX_PARTS:
                    raise _too_large(self._key, len(part))
                self._parts[number] = {"PartNumber": number}
                await self._room.acquire()
                tasks.start_soon(self._send, number, part)

    async def _send(self, number: int, part: bytes) -> None:
        try:
            crc = checksum(part)
            answer = await self._bucket.ask(
                self._request,
                lambda: self._bucket.client.upload_part(
                    Bucket=self._bucket.name,
                    Key=self._full,
                    UploadId=self._upload_id,
                    PartNumber=number,
                    Body=as_body(part),
                    ChecksumCRC32=crc,
                ),
            )
        except AbsentError as error:
            raise UploadLostError from error
        finally:
            self._room.release()
        self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crc}

    async def _complete(self, condition: PutCondition | Version) -> Version:
        async def complete() -> CompleteMultipartUploadOutputTypeDef:
            return await self._bucket.client.complete_multipart_upload(
                Bucket=self._bucket.name,
                Key=self._full,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": [part for _, part in sorted(self._parts.items())]},
                **as_arguments(condition),
            )

        try:
            return Version((await self._bucket.ask(self._request, complete))["ETag"])
        except (ConflictError, AbsentError) as error:
            return await settle(self._bucket, self._key, condition, self._metadata, error)

    async def _abort(self) -> None:
        """Free the storage of the parts. If that fails, `abort_stale_uploads` does it later."""
        with anyio.move_on_after(_ABORT_SECONDS, shield=True):
            try:
                await _abort(self._bucket, self._full, self._upload_id)
            except PipelineError:
                return  # the caller raises the error that led here, which says more


async def abort_stale_uploads(bucket: Bucket, older_than_seconds: float) -> int:
    """Abort the uploads below the bucket's prefix that were started this long ago; return their number.

    Their parts cost money until then. It needs s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. This
    machine's clock decides the age.
    """
    started_before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    request = bucket.request("list the uploads", "s3:ListBucketMultipartUploads")
    after: dict[str, Any] = {}
    aborted = 0
    while True:
        page = await bucket.ask(request, partial(_list_uploads, bucket, after))
        for upload in page.get("Uploads", []):
            if upload["Initiated"] < started_before and upload["Key"].startswith(bucket.prefix):
                await _abort(bucket, upload["Key"], upload["UploadId"])
                aborted += 1
        if not page.get("IsTruncated"):
            return aborted
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


async def _list_uploads(bucket: Bucket, after: dict[str, Any]) -> ListMultipartUploadsOutputTypeDef:
    return await bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=bucket.prefix, **after)


async def _abort(bucket: Bucket, full: str, upload_id: str) -> None:
    """Abort an upload, unless it is completed or aborted already."""
    request = bucket.request(f"abort an upload of {full}", "s3:AbortMultipartUpload", full)
    try:
        await bucket.ask(
            request,
            lambda: bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=full, UploadId=upload_id),
        )
    except AbsentError:
        return


def _too_large(key: ObjectKey, part_bytes: int) -> ConfigurationError:
    gigabytes = MAX_PARTS * part_bytes / 1e9
    return ConfigurationError(f"{key} is larger than {gigabytes:.0f} GB ({MAX_PARTS} parts); upload it in larger parts")
