"""The object store on S3, or on a server with S3's protocol. asyncio only, as aiobotocore is.

The condition of a put is S3's conditional write; a version is an ETag. Reads check length and version, and `get` also
the CRC-32. A stream's reader checks its digest, which stands in the list that names the object. Client settings and
their reasons: docs/decisions/0009-s3-client-settings.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
from botocore.handlers import set_list_objects_encoding_type_url

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client, resolved_options
from pipeline.domain.errors import ConfigurationError, ConflictError, DamagedError, TransientError
from pipeline.domain.ids import ObjectKey, is_key_segment
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from pipeline.stores.s3.bucket import Bucket
from pipeline.stores.s3.listing import list_folders, list_objects, walk_folders, walk_objects
from pipeline.stores.s3.outcome import UploadLostError, look
from pipeline.stores.s3.probe import check_conditional_writes, lists_by_segments
from pipeline.stores.s3.put import checksum, put_whole
from pipeline.stores.s3.stream import S3Stream
from pipeline.stores.s3.upload import PartUpload, abort_stale_uploads, parts_of, with_first

MIN_PART_BYTES = 5 * 1024 * 1024
"""S3's smallest part, except for the last (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

_WHOLE_BYTES = 64 * 1024 * 1024
"""Bytes in memory up to this size are stored with one request, so an object that `get` reads by default has no parts."""

_PARTS_AT_ONCE = 4
"""Parts in flight over all uploads: 32 MiB at 8 MiB a part. Each upload gathers one more part meanwhile."""

_BEFORE_LISTING = "before-parameter-build.s3.ListObjectsV2"
"""The event at which botocore asks for URL-encoded keys. Our keys do not need it, and LocalStack 4.13 then compares
encoded with plain keys: it omits or repeats some after a `StartAfter`."""

_UPLOAD_TRIES = 3
"""Uploads started for one put when uploads vanish before they are completed."""

_READ_TRIES = 5
"""Reads from the start when an object is replaced during each of them."""


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
    """Open the part of `bucket` below `prefix`, ready for use.

    Args:
        bucket: the bucket's name; it must exist.
        prefix: what all keys start with; a slash at its end makes no difference.
        aws: how to reach the server.
        path_style: True for a server whose buckets have no host names of their own.
        server_side_encryption: "AES256", "aws:kms" or "aws:kms:dsse"; None leaves it to the bucket.
        kms_key_id: the key for the last two; None is the account's own key.
        upload_part_bytes: a larger streamed body is uploaded in parts of this size, at most 10,000.
        probe: check that the bucket exists and honours conditional writes, and find out its order of keys (`probe.py`).
            A program that never writes, to AWS itself, MAY skip it.

    ConfigurationError or RefusedError says why the bucket cannot be used.
    """
    options = resolved_options("s3", aws or AwsOptions())
    if upload_part_bytes < MIN_PART_BYTES:
        raise ConfigurationError(
            f"upload parts of {upload_part_bytes} bytes are too small for S3; set at least {MIN_PART_BYTES} bytes"
        )
    async with open_client("s3", options, **_client_settings(path_style)) as client:
        client.meta.events.register_last("before-call.s3", _drop_expect_header)
        client.meta.events.register("before-call.s3.HeadBucket", _do_not_redirect)
        client.meta.events.unregister(_BEFORE_LISTING, set_list_objects_encoding_type_url)
        place = Bucket(client, bucket, _as_prefix(prefix), options, _encryption(server_side_encryption, kms_key_id))
        by_segments = False
        if probe:
            checked = replace(place, purpose="check the bucket")
            by_segments = await lists_by_segments(checked)
            await check_conditional_writes(checked)
        yield S3ObjectStore(place, upload_part_bytes, by_segments)


class S3ObjectStore:
    """Implements `pipeline.ports.object_store.ObjectStore` in a bucket; made by `open_s3_store`.

    `by_segments`: the server orders keys segment by segment, which is not the port's order.
    """

    def __init__(self, bucket: Bucket, part_bytes: int, by_segments: bool) -> None:
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._list = walk_objects if by_segments else list_objects
        self._list_folders = walk_folders if by_segments else list_folders
        self._room = anyio.Semaphore(_PARTS_AT_ONCE)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        self._bucket.full(key)
        if not isinstance(body, bytes):
            return await self._put_stream(key, body, condition)
        if len(body) <= _WHOLE_BYTES:
            return await put_whole(self._bucket, key, body, condition)
        return await self._put_stream(key, _open_bytes(body), condition)

    async def _put_stream(self, key: ObjectKey, body: OpenBody, condition: PutCondition | Version) -> Version:
        for _ in range(_UPLOAD_TRIES):
            try:
                async with body() as pieces:
                    return await self._put_pieces(key, pieces, condition)
            except UploadLostError:
                continue
        raise TransientError(
            f"the upload of {key} disappeared {_UPLOAD_TRIES} times before it was completed; "
            "check whether another program or a lifecycle rule aborts uploads, and run the command again"
        )

    async def _put_pieces(
        self, key: ObjectKey, pieces: AsyncIterable[bytes], condition: PutCondition | Version
    ) -> Version:
        """Store a body of at most one part with one request, a larger one in parts."""
        parts = parts_of(pieces, self._part_bytes)
        first = await anext(parts, b"")
        second = await anext(parts, b"")
        if not second:
            return await put_whole(self._bucket, key, first, condition)
        if condition is PutCondition.ABSENT and await look(self._bucket, key) is not None:
            raise ConflictError(f"the object {key} exists already")  # found before the rest is sent
        return await PartUpload(self._bucket, key, self._room).put(with_first(first, second, parts), condition)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        for _ in range(_READ_TRIES):
            try:
                return await self._get(key, max_bytes)
            except ConflictError:
                continue  # the connection was cut and the object replaced; the newer version will do
        raise TransientError(f"the object {key} was replaced during each of {_READ_TRIES} reads; try again")

    async def _get(self, key: ObjectKey, max_bytes: int) -> StoredObject:
        async with self._open_stream(key, 0) as stream:
            if stream.size > max_bytes:
                raise DamagedError(f"the object {key} has {stream.size} bytes; at most {max_bytes} were expected")
            data = b"".join([piece async for piece in stream])
            if stream.crc32 is not None and stream.crc32 != checksum(data):
                raise DamagedError(f"the object {key} was altered on its way: its CRC-32 differs; read it again")
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
        return None if present is None else ObjectInfo(key, present.size, present.modified)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await self._list(self._bucket, prefix, after, limit)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        return await self._list_folders(self._bucket, prefix)

    async def delete(self, key: ObjectKey) -> None:
        full = self._bucket.full(key)
        request = self._bucket.request(f"delete {key}", "s3:DeleteObject", full)
        await self._bucket.ask(request, lambda: self._bucket.client.delete_object(Bucket=self._bucket.name, Key=full))

    async def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Abort unfinished uploads that were started this long ago; return their number. Running ones MUST be younger."""
        return await abort_stale_uploads(self._bucket, older_than_seconds)


def _client_settings(path_style: bool) -> dict[str, Any]:
    return {
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": "path" if path_style else "auto", "payload_signing_enabled": False},
    }


def _drop_expect_header(params: dict[str, Any], **_: Any) -> None:
    """Drop `Expect: 100-continue`: a server that ignores it would make aiohttp wait for the whole read time-out."""
    params["headers"].pop("Expect", None)


def _do_not_redirect(params: dict[str, Any], **_: Any) -> None:
    """Leave a redirected HeadBucket alone: botocore sends it to find the region of a redirect, without an end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _encryption(algorithm: str | None, kms_key_id: str | None) -> Mapping[str, Any]:
    if kms_key_id and not (algorithm or "").startswith("aws:kms"):
        raise ConfigurationError(
            'a KMS key needs the encryption "aws:kms" or "aws:kms:dsse"; set one of them, or remove the key'
        )
    settings = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": kms_key_id}
    return {name: value for name, value in settings.items() if value}


def _as_prefix(prefix: str) -> str:
    stripped = prefix.removesuffix("/")
    if stripped and not all(map(is_key_segment, stripped.split("/"))):
        raise ConfigurationError(
            f"the prefix {prefix!r} cannot begin object keys; write it as some/place, without empty, . or .. parts"
        )
    return f"{stripped}/" if stripped else ""


def _open_bytes(data: bytes) -> OpenBody:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        yield pieces()

    return open_body
