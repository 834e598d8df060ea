"""Objects stored with one request each."""

from __future__ import annotations

import io
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING

from pipeline.domain.errors import AbsentError, ConflictError, TransientError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket, as_arguments
from pipeline.stores.s3.outcome import UploadLostError, new_metadata, settle

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import PutObjectOutputTypeDef

_BYTES_AT_ONCE = 1024 * 1024
"""aiohttp gets larger bodies as a file: it writes a file in pieces, and other tasks run in between."""


def as_body(data: bytes) -> bytes | io.BytesIO:
    """Return `data` in the form that suits aiohttp best."""
    return data if len(data) <= _BYTES_AT_ONCE else io.BytesIO(data)


def checksum(data: bytes) -> str:
    """Return the CRC-32 in S3's encoding; the server refuses a body with another checksum."""
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


async def put_whole(bucket: Bucket, key: ObjectKey, data: bytes, condition: PutCondition | Version) -> Version:
    """Store `data` under `key` with one request, if `condition` holds."""
    full, metadata, crc = bucket.full(key), new_metadata(), checksum(data)

    async def put() -> PutObjectOutputTypeDef:
        return await bucket.client.put_object(
            Bucket=bucket.name,
            Key=full,
            Body=as_body(data),
            ChecksumCRC32=crc,
            Metadata=metadata,
            **as_arguments(condition),
            **bucket.encryption,
        )

    request = bucket.request(f"store {key}", "s3:PutObject", full)
    try:
        return Version((await bucket.ask(request, put))["ETag"])
    except (ConflictError, AbsentError) as error:
        try:
            return await settle(bucket, key, condition, metadata, error)
        except UploadLostError:
            raise TransientError(f"the store's answer to a put of {key} makes no sense: {error}; try again") from error
