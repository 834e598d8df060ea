"""Exports in a bucket, written by several workers at once, and read from there."""

from __future__ import annotations

from secrets import token_hex

import anyio
import pytest

from pipeline.connectors.registry import ReadOptions, make_source, parse_location
from pipeline.connectors.sam.options import read_location, read_place
from pipeline.connectors.sam.reading.source import SamSource
from pipeline.connectors.sam.writing.destination import SamDestination
from pipeline.domain.errors import ConflictError
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import Loaded, LoadOutcome
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.cli.app import CommandLine, change, contents, make_database
from tests.connectors.sam.exports import header, read
from tests.connectors.sam.test_contracts import opening_of
from tests.contracts.destination import file_to_load
from tests.servers.addresses import S3AndSqs, S3Server
from tests.stores.s3_buckets import bare_client, shared_bucket

FLOW = FlowName("crm 2026-11-01T00:00:00+00:00")
SCHEMA = StreamSchema(StreamName("t"), Label("t"), (Column("id", "integer", False),), ("id",))
PLACE = read_place(read_location("sam:s3://bucket/prefix"))


def test_an_export_is_moved_to_a_bucket_and_from_there(
    pipeline: CommandLine, ministack: S3AndSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ministack.s3
    for name, value in {
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "AWS_REGION": server.region,
        "AWS_ACCESS_KEY_ID": server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
    }.items():
        monkeypatch.setenv(f"PIPELINE_{name}", value)
    place = f"sam:s3://{anyio.run(shared_bucket, server)}/{token_hex(6)}/export"
    source = make_database(pipeline.directory / "app.db")
    for _ in range(2):
        for ends in (("app.db", place, "--flow", "there"), (place, "back.db", "--flow", "back")):
            outcome = pipeline("move", *ends)
            assert outcome.code == 0, outcome.out + outcome.err
            assert pipeline("verify", ends[3]).code == 0
        assert contents(pipeline.directory / "back.db") == contents(source)
        change(source, "DELETE FROM people WHERE id = 3")
    assert anyio.run(_probes, server, place) == (True, False)


async def _probes(server: S3Server, place: str) -> tuple[bool, bool]:
    """Return whether a place was tried with a put: the one that was written to, and then one that is only read."""
    found = []
    bucket, _, prefix = place.removeprefix("sam:s3://").partition("/")
    async with bare_client(server) as client:
        for name in (prefix, f"{prefix}-read"):
            if name != prefix:
                await client.put_object(Bucket=bucket, Key=f"{name}/t_full_0.ndjson", Body=header("t", 0))
                source = make_source(parse_location(f"sam:s3://{bucket}/{name}"), ReadOptions())
                async with source.open_snapshot() as snapshot:
                    assert [schema.stream for schema in await snapshot.streams()] == ["t"]
            listed = await client.list_objects_v2(Bucket=bucket, Prefix=f"{name}/probe/")
            found.append(listed["KeyCount"] > 0)
    return found[0], found[1]


async def test_workers_that_write_at_once_lose_nothing_of_each_other() -> None:
    store, outcomes = MemoryObjectStore(), list[LoadOutcome]()

    async def work(start: int) -> None:
        async with SamDestination(PLACE, opening_of(store)).open(FLOW) as session:
            for chunk in range(start, 12, 3):
                line = b'{"upsert":{"id":%d}}\n' % chunk
                file = file_to_load(SCHEMA, [line], chunk=chunk, phase=Phase.FULL)
                outcomes.append(await session.load(file, after=[]))

    async with anyio.create_task_group() as tasks:
        for start in range(3):
            tasks.start_soon(work, start)
    assert all(isinstance(outcome, Loaded) for outcome in outcomes)
    assert len(outcomes) == 12
    found = (await read(SamSource(PLACE, opening_of(store))))["t"]
    assert [row["id"] for row in found.rows] == list(range(12))
    async with SamDestination(PLACE, opening_of(store)).open(FLOW) as session:
        wanted = {EventFileId(1, StreamName("t"), Phase.FULL, chunk) for chunk in range(12)}
        assert (await session.marks()).keys() == wanted


class _LosesAnAnswer(MemoryObjectStore):
    """A store whose put of a listing succeeds and is overtaken by another worker before the answer comes."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        version = await super().put(key, body, condition)
        if not key.startswith("listing/"):
            return version
        stored = await self.get(key)
        await super().put(key, stored.data + b"\n", version)
        raise ConflictError(f"the object {key} has changed since it was read")


async def test_a_file_whose_entry_is_stored_stays_though_the_answer_was_lost() -> None:
    store = _LosesAnAnswer()
    async with SamDestination(PLACE, opening_of(store)).open(FLOW) as session:
        outcome = await session.load(file_to_load(SCHEMA, [b'{"upsert":{"id":1}}\n']), after=[])
    assert isinstance(outcome, Loaded)
    assert [row["id"] for row in (await read(SamSource(PLACE, opening_of(store))))["t"].rows] == [1]


async def test_two_workers_with_one_event_file_import_it_once() -> None:
    store, loaded = MemoryObjectStore(), list[LoadOutcome]()

    async def work() -> None:
        async with SamDestination(PLACE, opening_of(store)).open(FLOW) as session:
            loaded.append(await session.load(file_to_load(SCHEMA, [b'{"upsert":{"id":1}}\n']), after=[]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(work)
    assert sorted(type(outcome).__name__ for outcome in loaded) == ["GaveWay", "Loaded"]
    assert [row["id"] for row in (await read(SamSource(PLACE, opening_of(store))))["t"].rows] == [1]
