"""The contract of `pipeline.ports.destination`.

A binding derives from `DestinationContract` and gives it a `DestinationWorld`: how to write records of a stream, and
how to read what the place holds. Every fact is checked on asyncio and on trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, ObjectKey, Phase
from pipeline.domain.planning.import_guard import fenced_reason
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import (
    Destination,
    Fencing,
    FileToLoad,
    GaveWay,
    Loaded,
    Mark,
    MarksReader,
    OpenBinary,
    RejectedKeeper,
)
from tests.loops import OnBothLoops, on_both

FLOW = FlowName("crm")


def no_binary(binary: BinaryId) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """The `open_binary` of a stream without Binary Files."""
    raise AssertionError(f"{binary} is not expected to be opened")


@dataclass(frozen=True, slots=True)
class DestinationWorld:
    """A place that does not exist yet but can be created, and one that cannot: its parent is missing.

    `upsert(n, version)` and `delete(n)` are lines about row n of a stream of `schema`; `held()` is the version of each
    row in the place. `refused` is an upsert line of row 99 that the destination rejects, None if it accepts every
    record; after `accept()`, if there is one, it accepts that line too, as version 0. `wider` is `schema` with one more
    column, None where the columns are fixed. `is_transactional`: rows and mark are committed together.
    `corrects`: a rejected record may be given another content.
    """

    destination: Destination
    impossible: Destination
    schema: StreamSchema
    upsert: Callable[[int, int], bytes]
    delete: Callable[[int], bytes]
    held: Callable[[], Mapping[int, int]]
    refused: bytes | None
    is_transactional: bool
    open_binary: OpenBinary = no_binary
    accept: Callable[[], None] | None = None
    wider: StreamSchema | None = None
    corrects: bool = True


def file_to_load(
    schema: StreamSchema,
    blocks: Sequence[bytes],
    *,
    chunk: int = 0,
    movement: int = 1,
    phase: Phase = Phase.INCREMENTAL,
    open_binary: OpenBinary = no_binary,
    damage: Exception | None = None,
) -> FileToLoad:
    """Return an Event File of these blocks, imported in `movement`. `damage` is raised after the last block."""
    file = EventFileId(movement, schema.stream, phase, chunk)
    lines = b"".join(blocks)
    upserts, deletes = lines.count(b'{"upsert":'), lines.count(b'{"delete":')
    entry = FileEntry(
        file, schema.label, ObjectKey(f"k/{file}"), Encoding.PLAIN, len(lines), "0" * 64, upserts, deletes
    )
    header = Header(FLOW, file, schema, upserts + deletes, datetime(2026, 1, 2, tzinfo=UTC))

    async def content() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block
        if damage is not None:
            raise damage

    return FileToLoad(entry, header, content(), open_binary, movement)


class DestinationContract(OnBothLoops):
    """The facts. A binding overrides `world`."""

    @pytest.fixture
    def world(self) -> DestinationWorld:
        raise NotImplementedError

    @pytest.fixture
    def file(self, world: DestinationWorld) -> Callable[..., FileToLoad]:
        """Makes an Event File of the world's stream from lines, all in one block."""

        def make(*lines: bytes, **options: Any) -> FileToLoad:
            blocks = [b"".join(lines)] if lines else []
            schema = options.pop("schema", world.schema)
            return file_to_load(schema, blocks, open_binary=world.open_binary, **options)

        return make

    @on_both
    async def test_a_loaded_file_is_held_and_marked(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session:
            assert await session.marks() == {}
            commits: list[float] = []
            one = replace(file(world.upsert(1, 1), world.upsert(2, 1), world.delete(3)), note_commit=commits.append)
            outcome = await session.load(one, after=[])
            assert isinstance(outcome, Loaded)
            assert len(commits) == 1
            assert replace(outcome.mark, binaries=0) == Mark(upserts=2, deletes=1, movement=1)
            assert outcome.rejections == ()
            assert await session.marks() == {one.entry.id: outcome.mark}
        assert world.held() == {1: 1, 2: 1}

    @on_both
    async def test_marks_outlive_the_session_and_belong_to_one_flow(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        one = file(world.upsert(1, 1))
        async with world.destination.open(FLOW) as session:
            await session.load(one, after=[])
        async with world.destination.open(FLOW) as session:
            assert list(await session.marks()) == [one.entry.id]
        async with world.destination.open(FlowName("another")) as session:
            assert await session.marks() == {}

    @on_both
    async def test_marks_can_be_read_without_opening_the_destination(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        if not isinstance(world.destination, MarksReader) or not isinstance(world.impossible, MarksReader):
            pytest.skip("this destination cannot be read without opening it")
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.upsert(1, 1)), after=[])
            marks = await session.marks()
        assert await world.destination.read_marks(FLOW, wait_seconds=5) == marks
        assert await world.destination.read_marks(FlowName("another"), wait_seconds=5) == {}
        with pytest.raises(ConfigurationError):
            await world.impossible.read_marks(FLOW, wait_seconds=5)

    @on_both
    async def test_a_file_is_loaded_once(self, world: DestinationWorld, file: Callable[..., FileToLoad]) -> None:
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.upsert(1, 1)), after=[])
            await session.load(file(world.upsert(1, 2), chunk=1), after=[])
            marks = await session.marks()
            assert isinstance(await session.load(file(world.upsert(1, 1)), after=[]), GaveWay)
            assert await session.marks() == marks
        assert world.held() == {1: 2}

    @on_both
    async def test_a_file_gives_way_while_one_before_it_is_missing(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        first, second = file(world.upsert(1, 1)), file(world.upsert(1, 2), chunk=1)
        async with world.destination.open(FLOW) as session:
            assert isinstance(await session.load(second, after=[first.entry.id]), GaveWay)
            assert await session.marks() == {}
            await session.load(first, after=[])
            second = file(world.upsert(1, 2), chunk=1)
            assert isinstance(await session.load(second, after=[first.entry.id]), Loaded)
        assert world.held() == {1: 2}

    @on_both
    async def test_a_file_gives_way_when_a_later_movement_has_imported_one_of_its_stream(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.upsert(1, 2), movement=3), after=[])
            marks = await session.marks()
            assert isinstance(await session.load(file(world.upsert(1, 1), movement=2), after=[]), GaveWay)
            assert await session.marks() == marks
            assert isinstance(await session.load(file(world.upsert(2, 1), movement=3, chunk=1), after=[]), Loaded)
        async with world.destination.open(FlowName("another")) as session:
            assert isinstance(await session.load(file(movement=2), after=[]), Loaded)
        assert world.held() == {1: 2, 2: 1}

    @on_both
    async def test_a_movement_that_is_fenced_loads_nothing_any_more(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session, world.destination.open(FLOW) as zombie:
            if not isinstance(session, Fencing):
                pytest.skip("the destination cannot be fenced")
            await session.fence(2)
            await session.fence(1)
            for movement in (1, 2):
                outcome = await zombie.load(file(world.upsert(1, 1), movement=movement), after=[])
                assert isinstance(outcome, GaveWay)
                assert outcome.reason == fenced_reason(movement)
            assert await zombie.marks() == {}
            assert isinstance(await zombie.load(file(world.upsert(1, 2), movement=3), after=[]), Loaded)
        async with world.destination.open(FlowName("another")) as session:
            assert isinstance(await session.load(file(movement=1), after=[]), Loaded)
        assert world.held() == {1: 2}

    @on_both
    async def test_the_movement_that_imports_a_file_counts_and_not_the_one_that_stored_it(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session:
            await session.load(replace(file(world.upsert(1, 1), movement=1), movement=3), after=[])
            second = replace(file(world.upsert(1, 2), movement=2), movement=3)
            assert isinstance(await session.load(second, after=[]), Loaded)
            assert {mark.movement for mark in (await session.marks()).values()} == {3}
        assert world.held() == {1: 2}

    @on_both
    async def test_a_new_column_is_created(self, world: DestinationWorld, file: Callable[..., FileToLoad]) -> None:
        if world.wider is None:
            pytest.skip("the columns of this technology are fixed")
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.upsert(1, 1)), after=[])
            line = world.upsert(2, 1).replace(b"}}", b',"%b":"x"}}' % world.wider.columns[-1].name.encode())
            outcome = await session.load(file(line, schema=world.wider, movement=2), after=[])
            assert isinstance(outcome, Loaded)
            assert (outcome.mark.upserts, outcome.rejections, outcome.skipped_columns) == (1, (), ())
        assert world.held() == {1: 1, 2: 1}

    @on_both
    async def test_records_apply_in_the_order_of_their_lines(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        lines = [world.upsert(1, 1), world.delete(1), world.upsert(2, 1), world.upsert(1, 2), world.delete(2)]
        async with world.destination.open(FLOW) as session:
            outcome = await session.load(file(*lines), after=[])
            assert isinstance(outcome, Loaded)
            assert (outcome.mark.upserts, outcome.mark.deletes) == (3, 2)
        assert world.held() == {1: 2}

    @on_both
    async def test_where_blocks_are_cut_makes_no_difference(self, world: DestinationWorld) -> None:
        lines = [world.upsert(n % 4, n) for n in range(1, 12)] + [world.delete(2)]
        one_line_a_block = file_to_load(world.schema, lines, open_binary=world.open_binary)
        async with world.destination.open(FLOW) as session:
            await session.load(one_line_a_block, after=[])
        assert world.held() == {0: 8, 1: 9, 3: 11}

    @on_both
    async def test_loading_the_same_records_again_changes_nothing(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        lines = [world.upsert(1, 1), world.upsert(2, 5), world.delete(3)]
        async with world.destination.open(FLOW) as session:
            for chunk in range(3):
                assert isinstance(await session.load(file(*lines, chunk=chunk), after=[]), Loaded)
        assert world.held() == {1: 1, 2: 5}

    @on_both
    async def test_an_empty_file_is_marked(self, world: DestinationWorld, file: Callable[..., FileToLoad]) -> None:
        async with world.destination.open(FLOW) as session:
            assert isinstance(await session.load(file(), after=[]), Loaded)
            assert list((await session.marks()).values()) == [Mark(0, 0, movement=1)]

    @on_both
    async def test_a_damaged_file_is_not_marked_and_its_error_passes_unchanged(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        damage = DamagedError("the checksum is another")
        async with world.destination.open(FLOW) as session:
            with pytest.raises(DamagedError) as caught:
                await session.load(file(world.upsert(1, 1), damage=damage), after=[])
            assert caught.value is damage
            assert await session.marks() == {}
            if world.is_transactional:
                assert world.held() == {}
            assert isinstance(await session.load(file(world.upsert(1, 2)), after=[]), Loaded)
        assert world.held() == {1: 2}

    @on_both
    async def test_a_load_that_is_cancelled_is_not_marked(self, world: DestinationWorld) -> None:
        file = file_to_load(world.schema, [])

        async with world.destination.open(FLOW) as session:
            with anyio.CancelScope() as scope:

                async def blocks() -> AsyncIterator[bytes]:
                    yield world.upsert(1, 1)
                    scope.cancel()
                    await anyio.sleep_forever()

                await session.load(replace(file, blocks=blocks(), open_binary=world.open_binary), after=[])
            assert scope.cancelled_caught
            assert await session.marks() == {}
            if world.is_transactional:
                assert world.held() == {}

    @on_both
    async def test_files_may_be_loaded_concurrently(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session:

            async def load(chunk: int) -> None:
                assert isinstance(await session.load(file(world.upsert(chunk, 1), chunk=chunk), after=[]), Loaded)

            async with anyio.create_task_group() as tasks:
                for chunk in range(5):
                    tasks.start_soon(load, chunk)
            assert len(await session.marks()) == 5
        assert world.held() == dict.fromkeys(range(5), 1)

    @on_both
    async def test_a_refused_record_is_rejected_and_the_others_are_loaded(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        refused = world.refused
        if refused is None:
            pytest.skip("this destination accepts every record")
        bad = file(world.upsert(1, 1), refused, world.upsert(2, 1))
        async with world.destination.open(FLOW) as session:
            outcome = await session.load(bad, after=[])
            assert isinstance(outcome, Loaded)
            assert (outcome.mark.upserts, outcome.mark.rejected) == (2, 1)
            (rejection,) = outcome.rejections
            assert (rejection.file, rejection.line) == (bad.entry.id, 3)
            assert rejection.key.startswith("[")
            assert rejection.reason
        async with world.destination.open(FLOW) as session:
            assert await session.retry_rejected() == [rejection]
            assert {file: mark.rejected for file, mark in (await session.marks()).items()} == {bad.entry.id: 1}
        async with world.destination.open(FlowName("another")) as session:
            assert await session.retry_rejected() == []
        assert world.held() == {1: 1, 2: 1}

    @on_both
    async def test_a_rejected_record_is_loaded_once_the_destination_accepts_it(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        if world.refused is None or world.accept is None:
            pytest.skip("this destination never accepts a record that it has rejected")
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.refused), after=[])
        world.accept()
        async with world.destination.open(FLOW) as session:
            assert await session.retry_rejected() == []
        assert world.held() == {99: 0}

    @on_both
    async def test_a_rejected_record_is_kept_with_its_content_and_can_be_chosen(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        if world.refused is None or world.accept is None:
            pytest.skip("this destination never accepts a record that it has rejected")
        async with world.destination.open(FLOW) as session:
            if not isinstance(session, RejectedKeeper):
                pytest.skip("this destination keeps no rejected records one by one")
            loaded = await session.load(file(world.refused), after=[])
            (kept,) = await session.rejected()
            assert isinstance(loaded, Loaded)
            assert ((kept.rejection,), kept.record) == (loaded.rejections, world.refused.rstrip())
            assert kept.key_columns == world.schema.primary_keys
            stale = replace(kept, rejection=replace(kept.rejection, line=kept.rejection.line + 7))
            assert await session.correct_rejected([stale]) == 0
        world.accept()
        async with world.destination.open(FLOW) as session:
            assert isinstance(session, RejectedKeeper)
            assert list(await session.retry_chosen(lambda one: False)) == [kept.rejection]
            assert world.held() == {}
            assert await session.retry_chosen(lambda one: one == kept.rejection) == []
            assert await session.rejected() == []
        assert world.held() == {99: 0}

    @on_both
    async def test_a_rejected_record_can_be_corrected(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        if world.refused is None or not world.corrects:
            pytest.skip("this destination accepts every record, or has no place for another content")
        async with world.destination.open(FLOW) as session:
            if not isinstance(session, RejectedKeeper):
                pytest.skip("this destination keeps no rejected records one by one")
            await session.load(file(world.refused), after=[])
            (kept,) = await session.rejected()
            corrected = replace(kept, record=world.upsert(99, 7).rstrip())
            assert await session.correct_rejected([corrected]) == 1
            assert await session.retry_chosen(lambda one: True) == []
            assert await session.correct_rejected([corrected]) == 0
        assert world.held() == {99: 7}

    @pytest.mark.parametrize("later", ["upsert", "delete"])
    @on_both
    async def test_a_later_record_replaces_a_rejected_one(
        self, world: DestinationWorld, file: Callable[..., FileToLoad], later: str
    ) -> None:
        refused = world.refused
        if refused is None:
            pytest.skip("this destination accepts every record")
        async with world.destination.open(FLOW) as session:
            await session.load(file(refused), after=[])
            line = world.upsert(99, 7) if later == "upsert" else world.delete(99)
            await session.load(file(line, chunk=1), after=[])
            assert await session.retry_rejected() == []
        assert world.held() == ({99: 7} if later == "upsert" else {})

    @on_both
    async def test_finishing_twice_is_as_good_as_once(
        self, world: DestinationWorld, file: Callable[..., FileToLoad]
    ) -> None:
        async with world.destination.open(FLOW) as session:
            await session.load(file(world.upsert(1, 1)), after=[])
            assert await session.finish([world.schema.stream]) == []
            assert await session.finish([world.schema.stream]) == []
            assert await session.retry_rejected() == []
        assert world.held() == {1: 1}

    @on_both
    async def test_an_impossible_place_is_named(self, world: DestinationWorld) -> None:
        with pytest.raises(ConfigurationError) as caught:
            async with world.impossible.open(FLOW):
                pass
        assert world.impossible.location in str(caught.value)
