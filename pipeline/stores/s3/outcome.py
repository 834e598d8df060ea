"""Decides whose put succeeded when the answer to ours was lost.

A request may take effect and its answer be lost. The repeated request, by us or by aiohttp itself (which repeats a put
on a connection that the server closed), then meets its own object. So every put carries a random id in the object's
metadata. The same content under another id is another writer's success: of any number of concurrent creators exactly
one wins, even where all write the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex

from pipeline.domain.errors import AbsentError, ConflictError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket

_PUT_ID = "put-id"


@dataclass(frozen=True, slots=True)
class Present:
    """The object that is stored under a key now. `size` is in bytes."""

    size: int
    version: Version
    put_id: str | None
    modified: datetime


class UploadLostError(Exception):
    """A multi-part upload vanished before it was completed, and its condition still holds: start a new one."""


def new_metadata() -> dict[str, str]:
    """Return the metadata for one put."""
    return {_PUT_ID: token_hex(16)}


async def look(bucket: Bucket, key: ObjectKey) -> Present | None:
    """Return the object that is stored under `key` now, or None."""
    full = bucket.full(key)
    request = bucket.request(f"look at {key}", "s3:GetObject", full)
    try:
        head = await bucket.ask(request, lambda: bucket.client.head_object(Bucket=bucket.name, Key=full))
    except AbsentError:
        return None
    put_id = head.get("Metadata", {}).get(_PUT_ID)
    return Present(head["ContentLength"], Version(head["ETag"]), put_id, head["LastModified"])


async def settle(
    bucket: Bucket, key: ObjectKey, condition: PutCondition | Version, metadata: dict[str, str], error: PipelineError
) -> Version:
    """Return the version that our own put created, if it did so before it met `error` (ConflictError or AbsentError).

    Otherwise raise ConflictError, or UploadLostError if another try may succeed. A put that succeeded and has been
    replaced since is a conflict, too: the next reader sees the newer object.
    """
    present = await look(bucket, key)
    if present is not None and present.put_id == metadata[_PUT_ID]:
        return present.version
    if condition is PutCondition.ABSENT and (present is not None or isinstance(error, ConflictError)):
        raise ConflictError(f"the object {key} exists already") from error
    if not isinstance(condition, PutCondition) and (present is None or present.version != condition):
        raise ConflictError(f"the object {key} has changed since it was read") from error
    if isinstance(error, ConflictError):
        raise error
    raise UploadLostError from error
