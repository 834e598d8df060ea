"""Listings of a bucket, page by page in UTF-8 byte order, as S3 itself orders keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.keys import is_segment
from pipeline.stores.s3.bucket import Bucket

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef

_MAX_PAGE = 1000
"""S3 gives no more at once (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html)."""


async def list_objects(bucket: Bucket, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return up to `limit` objects whose keys start with `prefix` and sort after `after`.

    S3 may cut a page short of what was asked for; it is asked on until there is enough, or no more. What cannot be a
    key of ours (a console marks a "folder" by an object whose name ends in a slash) is passed over.
    """
    request = bucket.request(f"list {prefix or 'the objects'}", "s3:ListBucket")
    where: dict[str, Any] = {} if after is None else {"StartAfter": bucket.prefix + after}
    found: list[ObjectInfo] = []
    while len(found) < limit:
        where["MaxKeys"] = min(limit - len(found), _MAX_PAGE)
        page = await bucket.ask(request, partial(_page, bucket, prefix, where))
        found += [
            ObjectInfo(ObjectKey(item["Key"][len(bucket.prefix) :]), item["Size"])
            for item in page.get("Contents", [])
            if all(map(is_segment, item["Key"].split("/")))
        ]
        if not page.get("IsTruncated"):
            break
        where = {"ContinuationToken": page["NextContinuationToken"]}
    return found


async def _page(bucket: Bucket, prefix: str, where: dict[str, Any]) -> ListObjectsV2OutputTypeDef:
    return await bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix + prefix, **where)
