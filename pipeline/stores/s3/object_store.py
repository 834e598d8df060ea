"""The object store on S3, and on servers that speak as it does. asyncio only, as aiobotocore is.

The condition of a put is S3's own conditional write; a version is an ETag. What is read is checked for its length and
version; a small object read whole, also for its CRC-32. What is a stream has its digest in the list that names it, and
whoever reads it checks that. The settings and their reasons: docs/decisions/0009-s3-client-settings.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from botocore.handlers import set_list_objects_encoding_type_url

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.domain.errors import ConfigurationError, ConflictError, DamagedError, TransientError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from pipeline.stores.keys import is_segment
from pipeline.stores.s3 import stale
from pipeline.stores.s3.bucket import Bucket
from pipeline.stores.s3.listing import list_objects
from pipeline.stores.s3.outcome import UploadLostError, look
from pipeline.stores.s3.parts import parts_of, with_first
from pipeline.stores.s3.probe import check_conditional_writes, lists_by_segments
from pipeline.stores.s3.put import checksum, put_whole
from pipeline.stores.s3.stream import S3Stream
from pipeline.stores.s3.upload import PartUpload
from pipeline.stores.s3.walk import walk_objects

MIN_PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes, but for the last (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

_WHOLE_BYTES = 64 * 1024 * 1024
"""Bytes in memory up to this size go as one request; what `get` reads by default is never in parts."""

_PARTS_AT_ONCE = 4
"""Of all uploads together, beside the one that each is gathering: with 8 MiB a part, 32 MiB."""

_BEFORE_LISTING = "before-parameter-build.s3.ListObjectsV2"
"""Where botocore asks for keys to be URL-encoded, which is not needed for keys of ours; LocalStack 4.13 then compares
encoded keys with plain ones, and drops or repeats some after a `StartAfter`."""

_UPLOADS = 3
"""How often an upload that vanished under way is begun."""

_READS = 5
"""How often an object that is replaced while it is read is read from its start."""


@asynccontextmanager
async def open_s3_store(
    bucket: str,
    *,
    prefix: str = "",
    aws: AwsOptions | None = None,
    path_style: bool = False,
    server_side_encryption: str | None = None,
    kms_key_id: str | None = None,
    upload_part_bytes: int = 8 * 1024 * 1024,
    probe: bool = True,
) -> AsyncIterator[S3ObjectStore]:
    """Open the part of `bucket` below `prefix`, ready for use; a slash at the prefix's end makes no difference.

    `path_style` is for servers whose buckets have no host names of their own. `server_side_encryption` is "AES256",
    "aws:kms" or "aws:kms:dsse", the last two with `kms_key_id` or the account's own key; None leaves it to the bucket.
    A streamed body above one part is uploaded in parts, at most 10,000. `probe` checks that the bucket is there and
    honours conditional writes, and finds out how it lists (`s3_probe`); who never writes to AWS MAY do without.

    ConfigurationError or RefusedError when the bucket cannot be used, with the reason.
    """
    options = aws or AwsOptions()
    if upload_part_bytes < MIN_PART_BYTES:
        raise ConfigurationError(f"parts of an upload have {MIN_PART_BYTES} bytes or more, not {upload_part_bytes}")
    async with open_client("s3", options, **_client_settings(path_style)) as client:
        client.meta.events.register_last("before-call.s3", _expect_nothing)
        client.meta.events.unregister(_BEFORE_LISTING, set_list_objects_encoding_type_url)
        place = Bucket(client, bucket, _as_prefix(prefix), options, _encryption(server_side_encryption, kms_key_id))
        by_segments = probe and await lists_by_segments(place)
        if probe:
            await check_conditional_writes(place)
        yield S3ObjectStore(place, upload_part_bytes, by_segments)


class S3ObjectStore:
    """Keeps `pipeline.ports.object_store.ObjectStore` in a bucket. `open_s3_store` opens one.

    `by_segments` tells that the server lists keys in an order that is not the port's.
    """

    def __init__(self, bucket: Bucket, part_bytes: int, by_segments: bool) -> None:
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._list = walk_objects if by_segments else list_objects
        self._room = anyio.Semaphore(_PARTS_AT_ONCE)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        self._bucket.full(key)
        if not isinstance(body, bytes):
            return await self._put_stream(key, body, condition)
        if len(body) <= _WHOLE_BYTES:
            return await put_whole(self._bucket, key, body, condition)
        return await self._put_stream(key, _open_bytes(body), condition)

    async def _put_stream(self, key: ObjectKey, body: OpenBody, condition: PutCondition | Version) -> Version:
        for _ in range(_UPLOADS):
            try:
                async with body() as pieces:
                    return await self._put_pieces(key, pieces, condition)
            except UploadLostError:
                continue
        raise TransientError(f"the upload of {key} vanished {_UPLOADS} times under way; is something aborting uploads?")

    async def _put_pieces(
        self, key: ObjectKey, pieces: AsyncIterable[bytes], condition: PutCondition | Version
    ) -> Version:
        """Store what fits into one part by one request, and all else in parts."""
        parts = parts_of(pieces, self._part_bytes)
        first = await anext(parts, b"")
        second = await anext(parts, b"")
        if not second:
            return await put_whole(self._bucket, key, first, condition)
        if condition is PutCondition.ABSENT and await look(self._bucket, key) is not None:
            raise ConflictError(f"the object {key} exists already")  # known before the rest is sent
        return await PartUpload(self._bucket, key, self._room).put(with_first(first, second, parts), condition)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        for _ in range(_READS):
            try:
                return await self._get(key, max_bytes)
            except ConflictError:
                continue  # it was cut, and replaced before it could be read on: what is there now is as good
        raise TransientError(f"{key} was replaced {_READS} times while it was read. Try again.")

    async def _get(self, key: ObjectKey, max_bytes: int) -> StoredObject:
        async with self._open_stream(key, 0) as stream:
            if stream.size > max_bytes:
                raise DamagedError(f"the object {key} has {stream.size} bytes, and at most {max_bytes} were expected")
            data = b"".join([piece async for piece in stream])
            if stream.crc32 is not None and stream.crc32 != checksum(data):
                raise DamagedError(f"the object {key} is not what was stored: its CRC-32 differs; read it again")
            return StoredObject(data, stream.version)

    def open_stream(self, key: ObjectKey, *, start: int = 0) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        return self._open_stream(key, start)

    @asynccontextmanager
    async def _open_stream(self, key: ObjectKey, start: int) -> AsyncIterator[S3Stream]:
        stream = S3Stream(self._bucket, key, start)
        try:
            await stream.open()
            yield stream
        finally:
            stream.close()

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        present = await look(self._bucket, key)
        return None if present is None else ObjectInfo(key, present.size)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await self._list(self._bucket, prefix, after, limit)

    async def delete(self, key: ObjectKey) -> None:
        full = self._bucket.full(key)
        request = self._bucket.request(f"delete {key}", "s3:DeleteObject", full)
        await self._bucket.ask(request, lambda: self._bucket.client.delete_object(Bucket=self._bucket.name, Key=full))

    async def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Abort uploads that were begun so long ago and not completed; return how many. Living ones MUST be younger."""
        return await stale.abort_stale_uploads(self._bucket, older_than_seconds)


def _client_settings(path_style: bool) -> dict[str, Any]:
    return {
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": "path" if path_style else "auto", "payload_signing_enabled": False},
    }


def _expect_nothing(params: dict[str, Any], **_: Any) -> None:
    """Take out `Expect: 100-continue`: aiohttp would wait for a server that does not know it for as long as it may read."""
    params["headers"].pop("Expect", None)


def _encryption(algorithm: str | None, kms_key_id: str | None) -> Mapping[str, Any]:
    if kms_key_id and not (algorithm or "").startswith("aws:kms"):
        raise ConfigurationError('a KMS key goes with the encryption "aws:kms" or "aws:kms:dsse"; name it, or no key')
    settings = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": kms_key_id}
    return {name: value for name, value in settings.items() if value}


def _as_prefix(prefix: str) -> str:
    stripped = prefix.removesuffix("/")
    if stripped and not all(map(is_segment, stripped.split("/"))):
        raise ConfigurationError(
            f"not a prefix for objects: {prefix!r}; write it as some/place, with no empty, . or .. part"
        )
    return f"{stripped}/" if stripped else ""


def _open_bytes(data: bytes) -> OpenBody:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        yield pieces()

    return open_body
