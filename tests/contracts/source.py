"""The contract of `pipeline.ports.source`.

A binding derives from `SourceContract` and gives it a `SourceWorld`: a small place with rows in it, and a way to change
one of them. Every fact is tried on asyncio and on trio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import orjson
import pytest
from blake3 import blake3

from pipeline.codec.values import from_json
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import BinaryId
from pipeline.domain.keys import Key, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.object_store import OpenBody
from pipeline.ports.ranged_source import KnownRange, RangedSnapshot, UnchangedRows
from pipeline.ports.source import DIGEST_BYTES, ROW_HASH_BYTES, Snapshot, Source, UnreadRows, UpsertSink
from tests.loops import OnBothLoops, on_both


@dataclass(frozen=True, slots=True)
class SourceWorld:
    """A source whose first stream has at least three rows.

    `again` is another source of the same place, `missing` one of a place that is not there. `change_one_row` gives one
    row of the first stream another content under the same key. `is_isolated`: a snapshot shows nothing that is written
    after it was opened. `follows_known_ranges`: blocks end where known ranges end, if the source reads along them at
    all. `spoil_one_row` makes a row of the first block one that cannot be given, after the block has been read.
    """

    source: Source
    again: Source
    missing: Source
    change_one_row: Callable[[], None]
    is_isolated: bool
    follows_known_ranges: bool = True
    spoil_one_row: Callable[[], None] | None = None


@dataclass(slots=True)
class StreamContent:
    """The content of one stream: keys, hashes and lines, and the Binary Files stored for it.

    `digests` are those of the blocks, by their keys. A source may end its blocks anywhere.
    """

    keys: list[Key] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    digests: dict[tuple[Key, ...], bytes] = field(default_factory=dict, compare=False)
    lines: list[bytes] = field(default_factory=list)
    stored: dict[BinaryId, bytes] = field(default_factory=dict)

    async def store(self, open_body: OpenBody) -> BinaryId:
        """Store a content under its id. It is opened twice, as the engine does."""
        contents = []
        for _ in range(2):
            async with open_body() as pieces:
                contents.append(b"".join([piece async for piece in pieces]))
        assert contents[0] == contents[1]
        binary = BinaryId(blake3(contents[0]).hexdigest())
        self.stored[binary] = contents[0]
        return binary


async def read_stream(snapshot: Snapshot, schema: StreamSchema) -> StreamContent:
    """Read a whole stream, and check the invariants of each block."""
    content = StreamContent()
    async with snapshot.open_rows(schema) as blocks:
        async for block in blocks:
            assert not isinstance(block, UnreadRows)
            keys, hashes = block.keys(), block.row_hashes()
            assert len(block) == len(keys) >= 1
            assert len(hashes) == ROW_HASH_BYTES * len(block)
            assert len(block.digest()) == DIGEST_BYTES
            assert block.last_key() == keys[-1]
            content.digests[tuple(keys)] = block.digest()
            lines = await block.upserts(range(len(block)), UpsertSink(content.store))
            assert lines.endswith(b"\n")
            assert lines.count(b"\n") == len(block)
            content.keys += keys
            content.hashes += [hashes[at : at + ROW_HASH_BYTES] for at in range(0, len(hashes), ROW_HASH_BYTES)]
            content.lines += lines.splitlines()
    return content


async def read_first(source: Source) -> StreamContent:
    """Read the first stream of a new snapshot."""
    async with source.open_snapshot() as snapshot:
        return await read_stream(snapshot, (await snapshot.streams())[0])


class SourceContract(OnBothLoops):
    """The facts. A binding overrides `world`."""

    @pytest.fixture
    def world(self) -> SourceWorld:
        raise NotImplementedError

    @on_both
    async def test_streams_are_ordered_by_name_and_each_has_a_key_among_its_columns(self, world: SourceWorld) -> None:
        async with world.source.open_snapshot() as snapshot:
            streams = await snapshot.streams()
        names = [schema.stream for schema in streams]
        assert names
        assert sorted(set(names)) == names
        for schema in streams:
            assert schema.primary_keys
            assert set(schema.primary_keys) <= set(schema.column_names)

    @on_both
    async def test_keys_ascend_strictly_from_block_to_block(self, world: SourceWorld) -> None:
        async with world.source.open_snapshot() as snapshot:
            for schema in await snapshot.streams():
                ordered = [order(key) for key in (await read_stream(snapshot, schema)).keys]
                assert all(one < following for one, following in pairwise(ordered))

    @on_both
    async def test_each_upsert_line_carries_the_row_of_its_key(self, world: SourceWorld) -> None:
        async with world.source.open_snapshot() as snapshot:
            for schema in await snapshot.streams():
                content = await read_stream(snapshot, schema)
                binaries = [column.name for column in schema.columns if column.type == "binary"]
                for key, line in zip(content.keys, content.lines, strict=True):
                    record = orjson.loads(line)
                    assert list(record) == ["upsert"]
                    assert set(record["upsert"]) <= set(schema.column_names)
                    assert tuple(from_json(record["upsert"][name]) for name in schema.primary_keys) == key
                    named = {record["upsert"].get(name) for name in binaries} - {None}
                    assert named <= content.stored.keys()

    @on_both
    async def test_only_the_rows_asked_for_become_lines(self, world: SourceWorld) -> None:
        whole = await read_first(world.source)
        store = StreamContent().store
        async with world.source.open_snapshot() as snapshot:
            schema = (await snapshot.streams())[0]
            async with snapshot.open_rows(schema) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    positions: Sequence[int] = range(0, len(block), 2)
                    lines = await block.upserts(positions, UpsertSink(store))
                    assert lines.splitlines() == [whole.lines[position] for position in positions]
                    assert await block.upserts([], UpsertSink(store)) == b""
                    return

    @on_both
    async def test_a_row_that_cannot_be_given_is_rejected_and_the_others_have_lines(self, world: SourceWorld) -> None:
        if world.spoil_one_row is None:
            pytest.skip("every row of this source can be given")
        whole = await read_first(world.source)
        sink = UpsertSink(StreamContent().store)
        async with world.source.open_snapshot() as snapshot:
            schema = (await snapshot.streams())[0]
            async with snapshot.open_rows(schema) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    world.spoil_one_row()
                    lines = (await block.upserts(range(len(block)), sink)).splitlines()
                    break
        ((position, rejection),) = sink.rejected.items()
        assert lines == [line for at, line in enumerate(whole.lines[: len(lines) + 1]) if at != position]
        assert rejection.reason

    @on_both
    async def test_unchanged_rows_are_read_the_same_again(self, world: SourceWorld) -> None:
        first, second = await read_first(world.source), await read_first(world.again)
        assert first == second
        assert len(first.keys) >= 3

    @on_both
    async def test_a_changed_row_has_another_hash_and_the_others_keep_theirs(self, world: SourceWorld) -> None:
        before = await read_first(world.source)
        world.change_one_row()
        after = await read_first(world.source)
        assert before.keys == after.keys
        assert sum(one != other for one, other in zip(before.hashes, after.hashes, strict=True)) == 1
        changed = [one != other for one, other in zip(before.lines, after.lines, strict=True)]
        assert changed == [one != other for one, other in zip(before.hashes, after.hashes, strict=True)]

    @on_both
    async def test_equal_blocks_have_equal_digests_and_one_with_a_changed_row_another(self, world: SourceWorld) -> None:
        before, again = await read_first(world.source), await read_first(world.again)
        assert all(again.digests.get(keys, digest) == digest for keys, digest in before.digests.items())
        world.change_one_row()
        after = await read_first(world.source)
        hashes = zip(before.keys, before.hashes, after.hashes, strict=True)
        changed = [key for key, one, other in hashes if one != other]
        assert len(changed) == 1
        for keys, digest in after.digests.items():
            if keys in before.digests:
                assert (before.digests[keys] != digest) == (changed[0] in keys)

    @on_both
    async def test_rows_read_along_known_ranges_are_the_same(self, world: SourceWorld) -> None:
        whole = await read_first(world.source)
        ends: list[Key] = []
        known = KnownRange(whole.keys[1])
        async with world.source.open_snapshot() as snapshot:
            if not isinstance(snapshot, RangedSnapshot):
                pytest.skip("this source does not read along known ranges")
            schema = (await snapshot.streams())[0]
            keys: list[Key] = []
            hashes = b""
            async with snapshot.open_rows_along(schema, lambda ahead: None if ahead else known) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    assert not isinstance(block, UnchangedRows)
                    keys += block.keys()
                    hashes += block.row_hashes()
                    ends.append(block.last_key())
        if world.follows_known_ranges:
            assert ends[0] == whole.keys[1]
        assert keys == whole.keys
        assert hashes == b"".join(whole.hashes)

    @on_both
    async def test_a_known_range_with_an_equal_digest_may_be_reported_as_unchanged(self, world: SourceWorld) -> None:
        whole = await read_first(world.source)
        keys, digest = next(iter(whole.digests.items()))
        known = KnownRange(keys[-1], b"".join(whole.hashes[: len(keys)]), digest)
        async with world.source.open_snapshot() as snapshot:
            if not isinstance(snapshot, RangedSnapshot):
                pytest.skip("this source does not read along known ranges")
            schema = (await snapshot.streams())[0]
            async with snapshot.open_rows_along(schema, lambda ahead: None if ahead else known) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    found = block.last_key if isinstance(block, UnchangedRows) else block.last_key()
                    assert (len(block), found) == (len(keys), keys[-1])
                    assert digest == (block.digest if isinstance(block, UnchangedRows) else block.digest())
                    return

    @on_both
    async def test_an_open_snapshot_does_not_hinder_writers(self, world: SourceWorld) -> None:
        async with world.source.open_snapshot() as snapshot:
            schema = (await snapshot.streams())[0]
            async with snapshot.open_rows(schema) as blocks:
                async for _ in blocks:
                    world.change_one_row()
                    break
        await read_first(world.source)

    @on_both
    async def test_a_snapshot_does_not_show_what_is_written_after_it_was_opened(self, world: SourceWorld) -> None:
        if not world.is_isolated:
            pytest.skip("this technology has no snapshots")
        async with world.source.open_snapshot() as snapshot:
            schema = (await snapshot.streams())[0]
            before = await read_stream(snapshot, schema)
            world.change_one_row()
            assert await read_stream(snapshot, schema) == before
        assert await read_first(world.source) != before

    @on_both
    async def test_two_streams_can_be_read_concurrently(self, world: SourceWorld) -> None:
        alone = await read_first(world.source)
        contents: list[StreamContent] = []

        async def read(snapshot: Snapshot, schema: StreamSchema) -> None:
            contents.append(await read_stream(snapshot, schema))

        async with world.source.open_snapshot() as snapshot, anyio.create_task_group() as tasks:
            schema = (await snapshot.streams())[0]
            tasks.start_soon(read, snapshot, schema)
            tasks.start_soon(read, snapshot, schema)
        assert contents == [alone, alone]

    @on_both
    async def test_a_stream_may_be_left_half_read(self, world: SourceWorld) -> None:
        async with world.source.open_snapshot() as snapshot:
            schema = (await snapshot.streams())[0]
            async with snapshot.open_rows(schema) as blocks:
                async for _ in blocks:
                    break
            assert (await read_stream(snapshot, schema)).keys

    @on_both
    async def test_a_missing_place_is_named(self, world: SourceWorld) -> None:
        with pytest.raises(ConfigurationError) as caught:
            async with world.missing.open_snapshot():
                pass
        assert world.missing.location in str(caught.value)

    def test_one_place_has_one_location(self, world: SourceWorld) -> None:
        assert world.source.location == world.again.location
        assert world.source.location != world.missing.location
