"""The S3 store behind a faulty network, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from secrets import token_hex

import anyio
import pytest

from pipeline.domain.errors import (
    AbsentError,
    ConflictError,
    DamagedError,
    RefusedError,
    TransientError,
)
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition
from tests.aws.fault_proxy import (
    Answer,
    Corrupt,
    Delay,
    Fault,
    LoseAnswer,
    ResetBefore,
    Strip,
    Truncate,
    fault_proxy,
    method,
)
from tests.aws.http_messages import Head
from tests.contracts.store_clauses import body_of, read
from tests.servers.addresses import S3AndSqs, S3Server
from tests.stores.s3_buckets import bare_client, faulty, new_bucket, opened, shared_bucket, through

KEY = ObjectKey("flows/crm/flow.json")
ABSENT, ALWAYS = PutCondition.ABSENT, PutCondition.NONE
LARGE = [bytes([number]) * 1_000_000 for number in range(12)]
PUT = method("PUT", "flow.json")
READ = method("GET", "flow.json")
COMPLETE = method("POST", "uploadId=")
PART = method("PUT", "partNumber=")


PASSING: list[Fault] = [
    ResetBefore(),
    LoseAnswer(),
    Answer(503, "SlowDown"),
    Answer(500, "InternalError"),
    Answer(429, ""),
]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
async def test_a_passing_fault_is_retried(fault: Fault, seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(fault, when=PUT, times=2)
        version = await store.put(KEY, b"one", ABSENT)
        proxy.next(fault, when=PUT, times=2)
        version = await store.put(KEY, b"two", version)
        proxy.next(fault, when=READ, times=2)
        assert (await store.get(KEY)).data == b"two"
        proxy.next(fault, when=method("HEAD"), times=2)
        assert await store.stat(KEY) is not None
        proxy.next(fault, when=method("GET", "list-type=2"), times=2)
        assert [info.key for info in await store.list_page("flows/")] == [KEY]
        proxy.next(fault, when=method("DELETE"), times=2)
        await store.delete(KEY)
        assert not proxy.planned


async def test_tries_are_limited(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.every(Answer(503, "SlowDown"), when=READ)
        with pytest.raises(TransientError, match=r"read flows/crm/flow.json \(bucket .*SlowDown.*tried 4 times"):
            await store.get(KEY)
        assert len(proxy.seen) == 4


async def test_a_put_whose_answer_was_lost_has_won(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(LoseAnswer(), when=PUT)
        version = await store.put(KEY, b"ours", ABSENT)
        proxy.next(LoseAnswer(), when=PUT)
        changed = await store.put(KEY, b"changed", version)
        assert (await store.get(KEY)).version == changed != version


async def test_the_same_bytes_of_another_writer_are_a_conflict(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, b"same", ABSENT)
        for fault in (LoseAnswer(), ResetBefore()):
            proxy.next(fault, when=PUT)
            with pytest.raises(ConflictError):
                await store.put(KEY, b"same", ABSENT)


async def test_a_put_that_never_arrived_loses_to_a_later_writer(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        version = await store.put(KEY, b"before", ABSENT)
        await store.put(KEY, b"between", version)
        proxy.next(ResetBefore(), when=PUT)
        with pytest.raises(ConflictError):
            await store.put(KEY, b"ours", version)
        assert (await store.get(KEY)).data == b"between"


async def test_a_put_that_aiohttp_repeats_has_won(seaweedfs: S3Server) -> None:
    bucket, prefix = await shared_bucket(seaweedfs), token_hex(8)
    async with (
        fault_proxy(seaweedfs.endpoint_url) as proxy,
        opened(through(seaweedfs, proxy), bucket, prefix=prefix, tries=1, probe=False) as store,
    ):
        assert await store.stat(KEY) is None  # opens a connection that is used again
        proxy.next(LoseAnswer(), when=PUT)
        await store.put(KEY, b"ours", ABSENT)
        assert [head.method for head in proxy.seen] == ["HEAD", "PUT", "PUT", "HEAD"]


async def test_an_altered_body_is_sent_again(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(Corrupt("request"), when=PUT)
        await store.put(KEY, b"x" * 1000, ABSENT)
        assert (await store.get(KEY)).data == b"x" * 1000
        proxy.next(Corrupt("request"), when=PART)
        await store.put(KEY, body_of(LARGE), ALWAYS)
        assert digest(b"".join(LARGE)) == digest(await read(store, KEY))
        assert not proxy.planned


@pytest.mark.parametrize("fault", [*PASSING, Truncate(10)], ids=repr)
@pytest.mark.parametrize("when", [PART, COMPLETE, method("POST", "?uploads")], ids=["part", "complete", "create"])
async def test_an_upload_survives_passing_faults(fault: Fault, when: object, seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(fault, when=when)  # type: ignore[arg-type]  # a parameter has no type here
        version = await store.put(KEY, body_of(LARGE), ABSENT)
        assert not proxy.planned
        assert version == (await store.get(KEY)).version
        assert digest(b"".join(LARGE)) == digest(await read(store, KEY))


async def test_an_upload_that_vanished_is_started_again(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(Answer(404, "NoSuchUpload"), when=PART)
        proxy.next(Answer(404, "NoSuchUpload"), when=COMPLETE)
        await store.put(KEY, body_of(LARGE), ABSENT)
        assert digest(b"".join(LARGE)) == digest(await read(store, KEY))
        assert len([head for head in proxy.seen if "?uploads" in head.target]) == 3


async def test_an_upload_of_an_object_that_appeared_meanwhile_is_a_conflict(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, _):

        async def overtaken() -> AsyncIterator[bytes]:
            for piece in LARGE:
                yield piece
            await store.put(KEY, b"theirs", ABSENT)

        @asynccontextmanager
        async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
            yield overtaken()

        with pytest.raises(ConflictError):
            await store.put(KEY, open_body, ABSENT)
        assert (await store.get(KEY)).data == b"theirs"


@pytest.mark.parametrize("fault", [Answer(403, "AccessDenied"), Answer(400, "InvalidPart")], ids=repr)
@pytest.mark.parametrize("when", [PART, COMPLETE], ids=["part", "complete"])
async def test_an_upload_that_fails_leaves_nothing(fault: Fault, when: object, seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        proxy.next(fault, when=when)  # type: ignore[arg-type]  # a parameter has no type here
        with pytest.raises(RefusedError):
            await store.put(KEY, body_of(LARGE), ABSENT)
        assert await store.stat(KEY) is None
        assert await store.abort_stale_uploads(-60.0) == 0


async def test_a_stream_continues_where_it_was_cut(seaweedfs: S3Server) -> None:
    data = b"".join(LARGE)
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, data, ABSENT)
        for start in (0, 1_234_567):
            for cut in (0, 700_000, 3_000_000):
                proxy.next(Truncate(cut), when=READ)
            assert digest(data[start:]) == digest(await read(store, KEY, start=start))
        assert not proxy.planned
        ranges = [head.headers.get("range", "") for head in proxy.seen if head.method == "GET"]
        assert ranges[:4] == ["", "", "bytes=700000-", "bytes=3700000-"]
        matches = {head.headers.get("if-match") for head in proxy.seen if head.method == "GET"}
        assert len(matches) == 2  # none at first, and one version from then on


async def test_a_stream_that_is_cut_too_often_fails(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, b"x" * 1_000_000, ABSENT)
        proxy.every(Truncate(1000), when=READ)
        with pytest.raises(TransientError, match=r"cut 4 times in 4000 bytes"):
            await read(store, KEY)
        with pytest.raises(TransientError):
            await store.get(KEY)


async def test_a_stream_does_not_mix_two_versions(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, b"a" * 3_000_000, ALWAYS)
        proxy.next(Truncate(1_000_000), when=READ)
        async with store.open_stream(KEY) as pieces:
            iterator = aiter(pieces)
            await anext(iterator)
            await store.put(KEY, b"b" * 3_000_000, ALWAYS)
            with pytest.raises(ConflictError, match="replaced while it was read"):
                await drain(iterator)


async def test_an_object_that_is_cut_and_replaced_is_read_again(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, b"a" * 3_000_000, ALWAYS)
        read_on = anyio.Event()

        def is_read_on(head: Head) -> bool:
            if "range" in head.headers:
                read_on.set()
            return "range" in head.headers

        async def replace_it() -> None:
            await read_on.wait()
            await store.put(KEY, b"b" * 10, ALWAYS)

        proxy.next(Truncate(1000), when=READ)
        proxy.next(Delay(1.0), when=is_read_on)
        async with anyio.create_task_group() as group:
            group.start_soon(replace_it)
            assert (await store.get(KEY)).data == b"b" * 10
        assert [head.method for head in proxy.seen].count("GET") == 3


async def test_a_server_that_ignores_ranges_is_refused(ministack: S3AndSqs) -> None:
    async with faulty(ministack.s3) as (store, proxy):
        await store.put(KEY, b"x" * 1000, ABSENT)
        proxy.next(Strip(frozenset({"range"})), when=READ)
        with pytest.raises(RefusedError, match="ignored the range"):
            await read(store, KEY, start=10)


async def test_an_altered_answer_is_detected(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        await store.put(KEY, b"x" * 1000, ABSENT)
        proxy.next(Corrupt(), when=READ)
        with pytest.raises(DamagedError, match="CRC-32 differs"):
            await store.get(KEY)


async def test_a_stalled_request_times_out(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)
    async with (
        fault_proxy(seaweedfs.endpoint_url) as proxy,
        opened(through(seaweedfs, proxy), bucket, read_timeout_seconds=0.2, tries=20) as store,
    ):
        await store.put(KEY, b"slow", ABSENT)
        proxy.next(Delay(5.0), when=READ)
        assert (await store.get(KEY)).data == b"slow"


async def test_an_absent_object_is_requested_once(seaweedfs: S3Server) -> None:
    async with faulty(seaweedfs) as (store, proxy):
        with pytest.raises(AbsentError):
            await store.get(KEY)
        assert len(proxy.seen) == 1


async def test_only_stale_uploads_are_aborted(seaweedfs: S3Server) -> None:
    bucket = await new_bucket(seaweedfs)
    async with bare_client(seaweedfs) as client, opened(seaweedfs, bucket, prefix="ours") as store:
        for key in ("ours/a", "ours/b", "theirs/c"):
            await client.create_multipart_upload(Bucket=bucket, Key=key)
        assert await store.abort_stale_uploads(60.0) == 0
        assert await store.abort_stale_uploads(-60.0) == 2  # seen from a minute from now
        left = await client.list_multipart_uploads(Bucket=bucket)
        assert [upload["Key"] for upload in left["Uploads"]] == ["theirs/c"]


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read the rest."""
    async for _ in pieces:
        pass


def digest(data: bytes) -> tuple[int, str]:
    """Return a length and a hash, so that a failure does not print megabytes."""
    return len(data), sha256(data).hexdigest()
