"""The S3 store and its bucket: opening, error messages, and the requests it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError, ConflictError, DefectError, TransientError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition, Version
from pipeline.stores.s3.object_store import S3ObjectStore, open_s3_store
from pipeline.stores.s3.upload import parts_of
from tests.aws.fault_proxy import fault_proxy
from tests.contracts.store_clauses import body_of, keys
from tests.servers.addresses import S3AndSqs, S3Server
from tests.stores.s3_buckets import bare_client, new_bucket, opened, options_for, shared_bucket, through

KEY = ObjectKey("flows/crm/flow.json")
ABSENT, ALWAYS = PutCondition.ABSENT, PutCondition.NONE
MEGABYTES = [bytes([number]) * 1_000_000 for number in range(12)]


async def test_stores_under_different_prefixes_are_separate(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)
    async with opened(seaweedfs, bucket, prefix="a") as one, opened(seaweedfs, bucket, prefix="a/b/") as other:
        await one.put(KEY, b"one", ABSENT)
        await other.put(KEY, b"other", ABSENT)
        assert await keys(one, "flows/") == await keys(other, "flows/") == [KEY]
        assert await keys(one, "b/flows") == [f"b/{KEY}"]
        assert (await other.get(KEY)).data == b"other"


@pytest.mark.parametrize("prefix", ["//", "/a", "a//b", "../a", "a\0"])
async def test_an_invalid_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot begin object keys"):
        async with open_s3_store("data", prefix=prefix):
            pass


async def test_a_bucket_that_is_missing_is_named(seaweedfs: S3Server) -> None:
    with pytest.raises(
        ConfigurationError, match=r"check the bucket \(bucket no-such-bucket at http.*NoSuchBucket.*create it"
    ):
        async with opened(seaweedfs, "no-such-bucket"):
            pass


async def test_wrong_credentials_are_reported_without_the_secret(seaweedfs: S3Server) -> None:
    bucket = await shared_bucket(seaweedfs)
    for key_id in (seaweedfs.access_key_id, "nobody"):
        with pytest.raises(ConfigurationError, match="check the access key") as raised:
            async with opened(replace(seaweedfs, access_key_id=key_id, secret_access_key="hush-hush"), bucket):
                pass
        chain: BaseException | None = raised.value
        while chain is not None:
            assert "hush" not in f"{chain!s} {chain!r}"
            chain = chain.__cause__ or chain.__context__


async def test_an_unreachable_server_is_named() -> None:
    nowhere = S3Server("http://127.0.0.1:9", "us-east-1", "a", "b")
    with pytest.raises(TransientError, match=r"127.0.0.1:9.*check the endpoint.*tried 4 times"):
        async with opened(nowhere, "data"):
            pass


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"upload_part_bytes": 1_000_000}, "at least 5242880 bytes"),
        ({"kms_key_id": "k"}, 'needs the encryption "aws:kms"'),
        ({"kms_key_id": "k", "server_side_encryption": "AES256"}, 'needs the encryption "aws:kms"'),
    ],
)
async def test_contradictory_settings_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        async with open_s3_store("data", **changes):  # type: ignore[arg-type]  # one of the above
            pass


async def test_every_put_asks_for_the_encryption_that_is_set(ministack: S3AndSqs) -> None:
    bucket = await new_bucket(ministack.s3)
    settings = {"server_side_encryption": "aws:kms", "kms_key_id": "arn:aws:kms:us-east-1:1:key/k"}
    async with (
        fault_proxy(ministack.s3.endpoint_url) as proxy,
        opened(through(ministack.s3, proxy), bucket, upload_part_bytes=5 * 1024 * 1024, **settings) as store,
    ):
        await store.put(KEY, b"small", ALWAYS)
        await store.put(KEY, body_of(MEGABYTES), ALWAYS)
        making = [head for head in proxy.seen if head.method == "PUT" and "partNumber" not in head.target]
        making += [head for head in proxy.seen if "?uploads" in head.target]
        assert len(making) >= 4
        for head in making:
            assert head.headers["x-amz-server-side-encryption"] == "aws:kms"
            assert head.headers["x-amz-server-side-encryption-aws-kms-key-id"] == settings["kms_key_id"]


async def test_requests_have_a_checksum_and_an_unsigned_body(seaweedfs: S3Server) -> None:
    async with (
        fault_proxy(seaweedfs.endpoint_url) as proxy,
        opened(through(seaweedfs, proxy), await new_bucket(seaweedfs), upload_part_bytes=5 * 1024 * 1024) as store,
    ):
        await store.put(KEY, b"small", ALWAYS)
        await store.put(KEY, body_of(MEGABYTES), ALWAYS)
        sent = [head.headers for head in proxy.seen if head.method == "PUT"]
        assert len(sent) >= 7
        for headers in sent:
            assert headers["x-amz-checksum-crc32"]
            assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
            assert "expect" not in headers
            assert "transfer-encoding" not in headers


async def test_opening_again_only_repeats_the_probe(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)
    async with opened(seaweedfs, bucket) as store:
        assert await keys(store, "") == ["probe/conditional-writes", "probe/order/a-/b", "probe/order/a/b"]
    async with fault_proxy(seaweedfs.endpoint_url) as proxy:
        async with opened(through(seaweedfs, proxy), bucket) as store:
            pass
        assert {head.target.split("?")[0].split("/probe")[0] for head in proxy.seen} == {f"/{bucket}"}
        assert {head.method for head in proxy.seen} == {"PUT", "HEAD", "GET"}


async def test_a_cancelled_upload_leaves_nothing(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)

    async def wait_for_cancellation() -> AsyncIterator[bytes]:
        for piece in MEGABYTES:
            yield piece
        scope.cancel()
        await anyio.sleep_forever()

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
        yield wait_for_cancellation()

    async with bare_client(seaweedfs) as client:
        async with opened(seaweedfs, bucket, upload_part_bytes=5 * 1024 * 1024) as store:
            with anyio.CancelScope() as scope:
                await store.put(KEY, open_body, ABSENT)
            assert scope.cancelled_caught
        assert (await client.list_multipart_uploads(Bucket=bucket)).get("Uploads", []) == []


async def test_an_object_that_exists_is_not_uploaded_again(seaweedfs: S3Server) -> None:
    async with (
        fault_proxy(seaweedfs.endpoint_url) as proxy,
        opened(through(seaweedfs, proxy), await new_bucket(seaweedfs)) as store,
    ):
        await store.put(KEY, body_of(MEGABYTES * 2), ABSENT)
        proxy.seen.clear()
        with pytest.raises(ConflictError):
            await store.put(KEY, body_of(MEGABYTES * 2), ABSENT)
        assert [head.method for head in proxy.seen] == ["HEAD"]


async def test_of_concurrent_uploads_in_parts_one_wins(ministack: S3AndSqs) -> None:
    """SeaweedFS 4.48 and LocalStack 4.13 check the condition before they complete: two may win at the same instant."""
    s3 = ministack.s3
    async with opened(s3, await new_bucket(s3), upload_part_bytes=5 * 1024 * 1024) as store:
        version = await store.put(ObjectKey("changed"), b"before", ALWAYS)
        for key, condition in ((ObjectKey("created"), ABSENT), (ObjectKey("changed"), version)):
            winners: list[int] = []
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(compete, store, key, condition, number, winners)
            assert [bytes([number]) for number in winners] == [(await store.get(key)).data[:1]]


async def compete(
    store: S3ObjectStore, key: ObjectKey, condition: PutCondition | Version, number: int, winners: list[int]
) -> None:
    """Upload a body of two parts, and record the winner."""
    with suppress(ConflictError):
        await store.put(key, body_of([bytes([number]) * 6_000_000]), condition)
        winners.append(number)


async def test_folder_objects_of_a_console_are_not_listed(ministack: S3AndSqs) -> None:
    bucket = await new_bucket(ministack.s3)
    async with bare_client(ministack.s3) as client, opened(ministack.s3, bucket) as store:
        for key in ("flows/", "flows/a", "flows/b/", "flows/c"):
            await client.put_object(Bucket=bucket, Key=key)
        assert await keys(store, "flows/", limit=2) == ["flows/a", "flows/c"]


async def test_a_key_that_a_listing_cannot_hold_is_a_defect(ministack: S3AndSqs) -> None:
    async with opened(ministack.s3, await shared_bucket(ministack.s3)) as store:
        with pytest.raises(DefectError, match="XML"):
            await store.put(ObjectKey("a\x01b"), b"", ALWAYS)


async def test_an_upload_with_too_many_parts_is_refused(ministack: S3AndSqs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stores.s3.upload.MAX_PARTS", 2)
    async with opened(ministack.s3, await shared_bucket(ministack.s3), upload_part_bytes=5 * 1024 * 1024) as store:
        with pytest.raises(ConfigurationError, match="larger parts"):
            await store.put(ObjectKey("too/large"), body_of(MEGABYTES), ABSENT)


async def test_parts_have_one_size_whatever_the_sizes_of_the_pieces() -> None:
    async def pieces(sizes: list[int]) -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    for sizes, wanted in (([], []), ([0, 0], []), ([3, 3, 4], [10]), ([25, 0, 6], [10, 10, 10, 1]), ([9], [9])):
        assert [len(part) async for part in parts_of(pieces(sizes), 10)] == wanted


def test_options_of_a_store_stay_secret(seaweedfs: S3Server) -> None:
    assert seaweedfs.secret_access_key not in repr(options_for(seaweedfs))
