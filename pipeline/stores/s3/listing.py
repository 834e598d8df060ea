"""Listings of a bucket in the order of the keys' UTF-8 bytes.

S3 itself lists keys in that order. Another server (SeaweedFS) orders them segment by segment: it lists `a/1` before
`a-b/1`, though `-` sorts before `/`, and lists directories that have become empty. `walk_objects` and `walk_folders`
are for such a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.domain.ids import ObjectKey, is_key_segment
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.keys import is_listed
from pipeline.stores.s3.bucket import Bucket

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef

_MAX_PAGE = 1000
"""The longest page of S3 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html)."""

_Entry = tuple[bytes, int, datetime]
"""A key with the object's size and date, or a directory of keys, which ends in a slash."""
_NEVER = datetime.fromtimestamp(0, UTC)


async def list_objects(bucket: Bucket, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return up to `limit` objects whose keys start with `prefix` and sort after `after`.

    S3 may return fewer keys than asked for, so pages are fetched until there are enough keys or no more. Keys that the
    port does not allow are left out: a console marks a "folder" with an object whose name ends in a slash.
    """
    request = bucket.request(f"list {prefix or 'the objects'}", "s3:ListBucket")
    where: dict[str, Any] = {} if after is None else {"StartAfter": bucket.prefix + after}
    found: list[ObjectInfo] = []
    while len(found) < limit:
        where["MaxKeys"] = min(limit - len(found), _MAX_PAGE)
        page = await bucket.ask(request, partial(_page, bucket, prefix, where))
        found += [
            ObjectInfo(ObjectKey(item["Key"][len(bucket.prefix) :]), item["Size"], item["LastModified"])
            for item in page.get("Contents", [])
            if all(map(is_key_segment, item["Key"].split("/")))
        ]
        if not page.get("IsTruncated"):
            break
        where = {"ContinuationToken": page["NextContinuationToken"]}
    return found


async def walk_objects(bucket: Bucket, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return the same as `list_objects`, whatever the server's order of keys.

    It lists one directory at a time, sorts the entries, and enters each directory in turn. That costs a request for
    each directory, or for each thousand entries of a large one; directories without wanted keys are not listed.
    """
    directory = prefix[: prefix.rfind("/") + 1]
    wanted, lowest = prefix.encode(), (after or "").encode()
    pending: list[_Entry] = [(directory.encode(), 0, _NEVER)]
    found: list[ObjectInfo] = []
    while pending and len(found) < limit:
        key, size, modified = pending.pop()
        if key and not key.endswith(b"/"):
            found.append(ObjectInfo(ObjectKey(key.decode()), size, modified))
            continue
        entries = [entry async for entry in _entries(bucket, key.decode()) if is_listed(entry[0], wanted, lowest)]
        pending.extend(sorted(entries, reverse=True))
    return found


async def list_folders(bucket: Bucket, prefix: str) -> list[str]:
    """Return the segments that follow `prefix` in keys of objects that lie further down."""
    folders = [key[len(prefix.encode()) : -1] async for key, _, _ in _entries(bucket, prefix) if key.endswith(b"/")]
    return [name.decode() for name in sorted(folders)]


async def walk_folders(bucket: Bucket, prefix: str) -> list[str]:
    """Return the same as `list_folders` from a server that also lists empty directories; a request more for each."""
    names = await list_folders(bucket, prefix)
    return [name for name in names if await walk_objects(bucket, f"{prefix}{name}/", None, 1)]


async def _entries(bucket: Bucket, directory: str) -> AsyncIterator[_Entry]:
    """Yield the entries of one directory, unordered."""
    request = bucket.request(f"list {directory or 'the objects'}", "s3:ListBucket")
    where: dict[str, Any] = {"Delimiter": "/"}
    while True:
        page = await bucket.ask(request, partial(_page, bucket, directory, where))
        for item in page.get("Contents", []):
            if is_key_segment(item["Key"].rpartition("/")[2]):
                yield item["Key"][len(bucket.prefix) :].encode(), item["Size"], item["LastModified"]
        for below in page.get("CommonPrefixes", []):
            yield below["Prefix"][len(bucket.prefix) :].encode(), 0, _NEVER
        if not page.get("IsTruncated"):
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


async def _page(bucket: Bucket, prefix: str, where: dict[str, Any]) -> ListObjectsV2OutputTypeDef:
    return await bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix + prefix, **where)
