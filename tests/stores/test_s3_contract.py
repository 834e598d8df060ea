"""The object store's contract, unchanged, on three S3 servers. asyncio only, as aiobotocore is."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from tests.contracts.object_store import CLAUSES, Clause, check, reading, writing
from tests.servers.addresses import S3AndSqs, S3Server
from tests.stores.s3_buckets import opened, shared_bucket

ON_SEAWEEDFS = {
    reading.a_listing_is_in_the_order_of_utf8_bytes: "stores keys as paths: an object cannot have the name of a directory",
    writing.a_key_may_have_1024_bytes: "stores keys as paths, with segments of at most 255 bytes",
}
"""Clauses that SeaweedFS cannot pass. The bucket's layout needs neither."""

SEAWEEDFS_CLAUSES = [
    pytest.param(clause, marks=pytest.mark.xfail(strict=True, reason=f"SeaweedFS {ON_SEAWEEDFS[clause]}"))
    if clause in ON_SEAWEEDFS
    else clause
    for clause in CLAUSES
]


def check_on(clause: Clause, server: S3Server) -> None:
    async def main() -> None:
        await check(clause, partial(opened, server, await shared_bucket(server)))

    anyio.run(main)


@pytest.mark.parametrize("clause", SEAWEEDFS_CLAUSES)
def test_s3_object_store_on_seaweedfs(clause: Clause, seaweedfs: S3Server) -> None:
    check_on(clause, seaweedfs)


@pytest.mark.parametrize("clause", CLAUSES)
def test_s3_object_store_on_ministack(clause: Clause, ministack: S3AndSqs) -> None:
    check_on(clause, ministack.s3)


@pytest.mark.parametrize("clause", CLAUSES)
def test_s3_object_store_on_localstack(clause: Clause, localstack: S3AndSqs) -> None:
    check_on(clause, localstack.s3)
