"""What is found out before a bucket is used: that it is there, may be written, and honours conditional writes.

Correctness stands on conditional writes, and a store that ignores their headers looks well until two workers meet.
So the question is put to it: one small object, always the same, is created twice, and changed as of a version that it
never had. It takes s3:PutObject and, for If-Match, s3:GetObject on `probe/*`; nothing is deleted. A server that is not
AWS is also asked for the order in which it lists; that takes s3:ListBucket.
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
"""In the order of their bytes, which is S3's; by segments, `a` comes before `a-`."""

_CONTENT = b"Shows how this store behaves; it may be deleted.\n"
_NEVER = Version(f'"{"0" * 32}"')


async def check_conditional_writes(bucket: Bucket) -> None:
    """Return when the bucket is fit for use.

    ConfigurationError when there is no such bucket, or it does not honour conditional writes; RefusedError, which names
    the permission, when it may not be written.
    """
    if await _is_put(bucket, PutCondition.ABSENT) and await _is_put(bucket, PutCondition.ABSENT):
        raise _unfit(bucket, "it ignores If-None-Match")
    if await _is_put(bucket, _NEVER):
        raise _unfit(bucket, "it ignores If-Match")


async def lists_by_segments(bucket: Bucket) -> bool:
    """Whether the server orders keys segment by segment. AWS does not (API_ListObjectsV2), and is not asked.

    ConfigurationError when there is no such bucket: SeaweedFS would make it at the first put.
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
            raise _unfit(bucket, "it does not know them") from error
        raise
    return True


def _unfit(bucket: Bucket, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the store that holds the bucket {bucket.name} does not honour conditional writes ({what}), and without them "
        "two workers could overwrite each other; use AWS S3 or a store that has them"
    )
