"""Buckets that the S3 store refuses, and missing permissions, each named."""

from __future__ import annotations

import pytest

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition
from tests.aws.fault_proxy import Answer, Strip, fault_proxy
from tests.servers.addresses import S3Server
from tests.stores.s3_buckets import faulty, new_bucket, opened, through

KEY = ObjectKey("flows/crm/flow.json")
ALWAYS = PutCondition.NONE


@pytest.mark.parametrize("header", ["if-none-match", "if-match"])
async def test_a_store_without_conditional_writes_is_refused(
    header: str, ministack: object, seaweedfs: S3Server
) -> None:
    server = ministack.s3  # type: ignore[attr-defined]  # it does not check signatures, which cover these headers
    bucket = await new_bucket(server)
    async with fault_proxy(server.endpoint_url) as proxy:
        proxy.every(Strip(frozenset({header})))
        with pytest.raises(ConfigurationError, match=rf"{bucket} does not honour conditional writes .*(?i:{header})"):
            async with opened(through(server, proxy), bucket):
                pass


async def test_a_store_that_does_not_implement_conditional_writes_is_refused(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)
    async with fault_proxy(seaweedfs.endpoint_url) as proxy:
        proxy.every(Answer(501, "NotImplemented"), when=lambda head: "if-none-match" in head.headers)
        with pytest.raises(ConfigurationError, match="does not honour conditional writes"):
            async with opened(through(seaweedfs, proxy), bucket):
                pass


PERMISSIONS = [
    ("s3:PutObject", r"/\w+/flows/crm/flow.json", lambda store: store.put(KEY, b"", ALWAYS)),
    ("s3:GetObject", r"/\w+/flows/crm/flow.json", lambda store: store.get(KEY)),
    ("s3:GetObject", r"/\w+/flows/crm/flow.json", lambda store: store.stat(KEY)),
    ("s3:DeleteObject", r"/\w+/flows/crm/flow.json", lambda store: store.delete(KEY)),
    ("s3:ListBucket", "", lambda store: store.list_page("flows/")),
    ("s3:ListBucketMultipartUploads", "", lambda store: store.abort_stale_uploads(60.0)),
]


@pytest.mark.parametrize(("action", "resource", "call"), PERMISSIONS, ids=[action for action, _, _ in PERMISSIONS])
async def test_a_missing_permission_is_named(action: str, resource: str, call: object, seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(Answer(403, "AccessDenied"))
        with pytest.raises(
            RefusedError, match=rf"give the role the permission {action} on arn:aws:s3:::bucket-\w+{resource}[,; ]"
        ):
            await call(store)  # type: ignore[operator]  # one of the above
        assert len(proxy.seen) == 1
