"""Uploads that nobody will complete: their writers are dead, and their parts cost money until they are aborted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.stores.s3.bucket import Bucket
from pipeline.stores.s3.upload import abort

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListMultipartUploadsOutputTypeDef


async def abort_stale_uploads(bucket: Bucket, older_than_seconds: float) -> int:
    """Abort the uploads below the bucket's prefix that were begun so long ago; return how many.

    Takes s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. The age is told by this machine's clock.
    """
    begun_before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    request = bucket.request("list the uploads", "s3:ListBucketMultipartUploads")
    after: dict[str, Any] = {}
    aborted = 0
    while True:
        page = await bucket.ask(request, partial(_page, bucket, after))
        for upload in page.get("Uploads", []):
            if upload["Initiated"] < begun_before and upload["Key"].startswith(bucket.prefix):
                await abort(bucket, upload["Key"], upload["Key"], upload["UploadId"])
                aborted += 1
        if not page.get("IsTruncated"):
            return aborted
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


async def _page(bucket: Bucket, after: dict[str, Any]) -> ListMultipartUploadsOutputTypeDef:
    return await bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=bucket.prefix, **after)
