"""A bucket as the modules of the S3 store share it: full keys, requests, and their names in errors."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.aws.errors import Request, translated
from pipeline.aws.options import AwsOptions
from pipeline.aws.retries import retried
from pipeline.domain.errors import DefectError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.keys import check_key

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

T = TypeVar("T")

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""(https://www.w3.org/TR/xml/#charsets)"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The part of a bucket below `prefix` (empty, or ending in a slash), and the client that reaches it.

    `encryption` holds the arguments of every put that creates an object. `purpose` replaces the descriptions of single
    requests in errors.
    """

    client: S3Client
    name: str
    prefix: str
    options: AwsOptions
    encryption: Mapping[str, Any]
    purpose: str | None = None

    def full(self, key: ObjectKey) -> str:
        """Return the key with the bucket's prefix. DefectError for an invalid key, or one that no listing can hold."""
        if _NOT_IN_XML.search(check_key(key)):
            raise DefectError(
                f"not a key for S3, whose listings are XML and cannot hold one of its characters: {key!r}"
            )
        return check_key(ObjectKey(self.prefix + key))

    def request(self, what: str, action: str, resource: str | None = None) -> Request:
        """Describe a request for error messages. `resource` is a full key; None is the bucket itself."""
        arn = f"arn:aws:s3:::{self.name}" + ("" if resource is None else f"/{resource}")
        place = f"bucket {self.name}"
        if self.options.endpoint_url is not None:
            place += f" at {self.options.endpoint_url}"
        permission = f"{action} on {arn}"
        if action == "s3:GetObject":  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, Permissions
            permission += " (and s3:ListBucket on the bucket: without it S3 answers 403 for an object that is absent)"
        return Request(self.purpose or what, place=place, permission=permission)

    async def ask(self, request: Request, operation: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to one request. It is sent again as long as it raises TransientError and tries are left."""

        async def attempt() -> T:
            with translated(request):
                return await operation()

        return await retried(attempt, self.options)


def as_arguments(condition: PutCondition | Version) -> dict[str, Any]:
    """Return the condition as arguments of an S3 put.

    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
    """
    if condition is PutCondition.ABSENT:
        return {"IfNoneMatch": "*"}
    if condition is PutCondition.NONE:
        return {}
    return {"IfMatch": condition}
