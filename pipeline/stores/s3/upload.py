"""Objects stored in parts, several under way at once (multi-part upload).

The object appears when the upload is completed, all at once; the condition is decided there. An upload that is not
completed is aborted, and what a killed process left behind is found by its age.

AWS decides the condition and the completion as one. SeaweedFS 4.48 and LocalStack 4.13 look first, so that of two
completed at the same instant both may win there; what is put by one request is decided rightly by all.

(https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio

from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket, as_arguments
from pipeline.stores.s3.outcome import UploadLostError, new_metadata, settle
from pipeline.stores.s3.put import as_body, checksum

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, CompleteMultipartUploadOutputTypeDef

MAX_PARTS = 10_000
"""Of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

_ABORT_SECONDS = 10.0


class PartUpload:
    """One upload of one object. `room` bounds the parts under way, over all uploads that share it."""

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
        """Store all `parts`, all but the last of one size, if `condition` holds at the end."""
        answer = await self._bucket.ask(self._request, self._create)
        self._upload_id = answer["UploadId"]
        try:
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
        """Send the parts as they come. The first error ends it, and is raised as it is."""
        errors: tuple[BaseException, ...] = ()
        try:
            async with anyio.create_task_group() as tasks:
                async for part in parts:
                    number = len(self._parts) + 1
                    if number > MAX_PARTS:
                        raise _too_large(self._key, len(part))
                    self._parts[number] = {"PartNumber": number}
                    await self._room.acquire()
                    tasks.start_soon(self._send, number, part)
        except BaseExceptionGroup as group:
            errors = group.exceptions
        if errors:
            raise errors[0]

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
        """Give back the room that the parts take. What cannot be aborted now is left to `abort_stale_uploads`."""
        with anyio.move_on_after(_ABORT_SECONDS, shield=True):
            try:
                await abort(self._bucket, self._key, self._full, self._upload_id)
            except PipelineError:
                return  # what led here is raised, and says more


async def abort(bucket: Bucket, what: str, full: str, upload_id: str) -> None:
    """Abort an upload, unless it is completed or aborted already."""
    request = bucket.request(f"abort an upload of {what}", "s3:AbortMultipartUpload", full)
    try:
        await bucket.ask(
            request,
            lambda: bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=full, UploadId=upload_id),
        )
    except AbsentError:
        return


def _too_large(key: ObjectKey, part_bytes: int) -> ConfigurationError:
    gigabytes = MAX_PARTS * part_bytes / 1e9
    return ConfigurationError(f"{key} is larger than {gigabytes:.0f} GB, {MAX_PARTS} parts; upload in larger parts")
