"""Listings of a server that orders keys segment by segment, in the order of the port: by the bytes of the whole key.

Such a server (SeaweedFS) lists `a/1` before `a-b/1`, though `-` sorts before `/`; what follows a key is not what the port
says then. So its directories are listed one at a time, each whole, sorted here, and entered in turn. That costs a
request a directory, or one for each thousand entries of a large one, and those alone that may hold what is wanted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.keys import is_segment
from pipeline.stores.s3.bucket import Bucket

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef

_Entry = tuple[bytes, int]
"""A key of ours, or a directory of keys, which ends in a slash; and the object's size."""


async def walk_objects(bucket: Bucket, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return up to `limit` objects whose keys start with `prefix` and sort after `after`."""
    directory = prefix[: prefix.rfind("/") + 1]
    wanted, lowest = prefix.encode(), (after or "").encode()
    pending: list[_Entry] = [(directory.encode(), 0)]
    found: list[ObjectInfo] = []
    while pending and len(found) < limit:
        key, size = pending.pop()
        if key and not key.endswith(b"/"):
            found.append(ObjectInfo(ObjectKey(key.decode()), size))
            continue
        entries = [entry async for entry in _entries(bucket, key.decode()) if _is_wanted(entry[0], wanted, lowest)]
        pending.extend(sorted(entries, reverse=True))
    return found


def _is_wanted(key: bytes, prefix: bytes, after: bytes) -> bool:
    """Whether the object `key`, or anything in the directory `key` if it ends in a slash, belongs in the listing."""
    if key.endswith(b"/"):
        return (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
    return key > after and key.startswith(prefix)


async def _entries(bucket: Bucket, directory: str) -> AsyncIterator[_Entry]:
    """Yield what is in one directory, in no order."""
    request = bucket.request(f"list {directory or 'the objects'}", "s3:ListBucket")
    after: dict[str, Any] = {}
    while True:
        page = await bucket.ask(request, partial(_page, bucket, directory, after))
        for item in page.get("Contents", []):
            if is_segment(item["Key"].rpartition("/")[2]):
                yield item["Key"][len(bucket.prefix) :].encode(), item["Size"]
        for below in page.get("CommonPrefixes", []):
            yield below["Prefix"][len(bucket.prefix) :].encode(), 0
        if not page.get("IsTruncated"):
            return
        after = {"ContinuationToken": page["NextContinuationToken"]}


async def _page(bucket: Bucket, directory: str, after: dict[str, Any]) -> ListObjectsV2OutputTypeDef:
    return await bucket.client.list_objects_v2(
        Bucket=bucket.name, Prefix=bucket.prefix + directory, Delimiter="/", **after
    )
