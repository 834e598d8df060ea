"""Checks a bucket before use: that it exists, may be written, and honours conditional writes.

The pipeline is correct only with conditional writes, and a store that ignores their headers seems to work until two
workers write at once. So the probe creates one small object twice, and replaces it as of a version that it never had.
It needs s3:PutObject and, for If-Match, s3:GetObject on `probe/*`; it deletes nothing. On a server other than AWS the
probe also finds out the order of listings, which needs s3:ListBucket.
"""

from __future__ import annotations

from pipeline.domain.errors import ConfigurationError, ConflictError, RefusedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.bucket import Bucket
from pipeline.stores.s3.listing import list_objects
from pipeline.stores.s3.put import put_whole

PROBE_KEY = ObjectKey("probe/conditional-writes")
_ORDER_PREFIX = "probe/order/"
ORDER_KEYS = ObjectKey(f"{_ORDER_PREFIX}a-/b"), ObjectKey(f"{_ORDER_PREFIX}a/b")
"""In S3's order, by bytes. Segment by segment, `a` comes before `a-`."""

_CONTENT = b"Shows how this store behaves; it may be deleted.\n"
_NEVER = Version(f'"{"0" * 32}"')


async def check_conditional_writes(bucket: Bucket) -> None:
    """Return if the bucket can be used.

    ConfigurationError: the bucket does not exist, or does not honour conditional writes. RefusedError: it may not be
    written; the message names the permission.
    """
    if await _is_put(bucket, PutCondition.ABSENT) and await _is_put(bucket, PutCondition.ABSENT):
        raise _unusable(bucket, "it ignores If-None-Match")
    if await _is_put(bucket, _NEVER):
        raise _unusable(bucket, "it ignores If-Match")


async def lists_by_segments(bucket: Bucket) -> bool:
    """Whether the server orders keys segment by segment. AWS does not (API_ListObjectsV2), so it is not asked.

    ConfigurationError when there is no such bucket: SeaweedFS would create it at the first put.
    """
    if bucket.options.endpoint_url is None:
        return False
    listed = await list_objects(bucket, _ORDER_PREFIX, None, len(ORDER_KEYS))
    if len(listed) < len(ORDER_KEYS):
        for key in ORDER_KEYS:
            await _is_put(bucket, PutCondition.ABSENT, key)
        listed = await list_objects(bucket, _ORDER_PREFIX, None, len(ORDER_KEYS))
    return tuple(info.key for info in listed) != ORDER_KEYS


async def _is_put(bucket: Bucket, condition: PutCondition | Version, key: ObjectKey = PROBE_KEY) -> bool:
    try:
        await put_whole(bucket, key, _CONTENT, condition)
    except ConflictError:
        return False
    except RefusedError as error:
        if "NotImplemented" in str(error):
            raise _unusable(bucket, "it does not implement them") from error
        raise
    return True


def _unusable(bucket: Bucket, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the store of bucket {bucket.name} does not honour conditional writes ({what}), and without them "
        "two workers could overwrite each other; use AWS S3 or a store that has them"
    )
