"""What became of a put whose answer was lost: ours, or somebody else's?

A request may take place and its answer be lost; asked again, by us or by aiohttp itself (it repeats an idempotent
method on a connection that was closed under it, and a put counts as one), a create-only put meets its own object.
So every put carries an id of its own in the object's metadata. The same content under another id is somebody else's
success: of any number of creators one wins, even where all bring the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex

from pipeline.domain.errors import AbsentError, ConflictError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket

_PUT_ID = "put-id"


@dataclass(frozen=True, slots=True)
class Present:
    """What is stored under a key at present."""

    size: int
    version: Version
    put_id: str | None


class UploadLostError(Exception):
    """A multi-part upload vanished before it was completed, its condition still holding: to be made anew."""


def new_metadata() -> dict[str, str]:
    """Return the metadata for one put."""
    return {_PUT_ID: token_hex(16)}


async def look(bucket: Bucket, key: ObjectKey) -> Present | None:
    """Return what is stored under `key` now, or None."""
    full = bucket.full(key)
    request = bucket.request(f"look at {key}", "s3:GetObject", full)
    try:
        head = await bucket.ask(request, lambda: bucket.client.head_object(Bucket=bucket.name, Key=full))
    except AbsentError:
        return None
    return Present(head["ContentLength"], Version(head["ETag"]), head.get("Metadata", {}).get(_PUT_ID))


async def settle(
    bucket: Bucket, key: ObjectKey, condition: PutCondition | Version, metadata: dict[str, str], error: PipelineError
) -> Version:
    """Return the version that our own put made, if it did, after it met `error`: a conflict, or that it is not there.

    Else ConflictError, or UploadLostError where nothing speaks against another try. A put that took place and has been
    replaced since is a conflict too: who reads next sees what stands there.
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
