"""Packs: small Binary Files share objects. Each is stored once, before an Event File names it, and is read unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from blake3 import blake3

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.domain import object_keys
from pipeline.domain.errors import DamagedError, TransientError
from pipeline.domain.ids import BinaryId, ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.domain.planning.retention import Reason
from pipeline.engine.export import chunk_writer
from pipeline.engine.imports.import_helper import HelperEvent
from pipeline.engine.movements.context import Limits
from pipeline.engine.movers.mover import Mover
from pipeline.engine.storage import pack_writer, packs
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.ports.object_store import ObjectStore, PutCondition
from pipeline.ports.reporter import BinaryFileFailed, BinaryFileStored
from pipeline.stores.directory.object_store import DirectoryObjectStore
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import Faults
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.connectors.files.moving import described
from tests.engine.attachments import AttachmentWorld
from tests.engine.mover_world import FLOW, RecordingReporter
from tests.engine.wider_world import may_crash
from tests.fakes.rows import body_of
from tests.loops import on_trio

PACKS = object_keys.packs_prefix(FLOW)
EVENTS = f"flows/{FLOW}/events/"


class Process:
    """The Binary Files of one process, with a trace of its requests."""

    def __init__(self, store: ObjectStore) -> None:
        self.faults, self.reporter = Faults(), RecordingReporter()
        self.files = BinaryFiles(CallingStore(store, self.faults), FLOW, self.reporter)

    async def store(self, contents: Sequence[bytes]) -> list[BinaryId]:
        ids = [await self.files.store(body_of(content)) for content in contents]
        await self.files.flush()
        return ids

    async def read(self, binary: BinaryId) -> bytes:
        async with self.files.open(binary) as pieces:
            return b"".join([piece async for piece in pieces])

    @property
    def reused(self) -> list[bool]:
        return [
            event.reused
            for event in self.reporter.events
            if isinstance(event, BinaryFileStored)
            for _ in range(event.count)
        ]

    @property
    def requests(self) -> list[str]:
        """The requests so far, without the digests of packs."""
        trace = [line for line in self.faults.trace if line.startswith("after") and ".read " not in line]
        said = [line.removeprefix("after store.") for line in trace]
        return [line[: line.index(PACKS) + len(PACKS)] if PACKS in line else line for line in said]


def numbered(count: int, size: int = 20) -> list[bytes]:
    return [f"content {number} ".encode().ljust(size, b".") for number in range(count)]


async def objects(store: ObjectStore, prefix: str = "") -> list[ObjectKey]:
    return [info.key for info in await store.list_page(prefix)]


async def altered(store: ObjectStore, key: ObjectKey, at: int) -> None:
    data = bytearray((await store.get(key)).data)
    data[at] ^= 1
    await store.put(key, bytes(data), PutCondition.NONE)


async def test_many_small_contents_take_one_object_and_one_put() -> None:
    store = MemoryObjectStore()
    process = Process(store)
    ids = await process.store(numbered(300))
    assert len(await objects(store)) == 1
    assert process.requests == [f"list_page {PACKS}", f"list_page {object_keys.binaries_prefix(FLOW)}", f"put {PACKS}"]
    assert process.reused == [False] * 300
    reader = Process(store)
    assert [await reader.read(binary) for binary in ids] == numbered(300)
    assert reader.requests == [f"list_page {PACKS}", f"open_stream {PACKS}", f"get {PACKS}"]


async def test_a_content_is_stored_once_within_and_across_movements() -> None:
    store = MemoryObjectStore()
    first = Process(store)
    await first.store([*numbered(40), *numbered(40)])
    before = await objects(store)
    assert sorted(first.reused) == [False] * 40 + [True] * 40
    later = Process(store)
    await later.store(numbered(40))
    assert later.reused == [True] * 40
    assert await objects(store) == before


async def test_few_contents_get_objects_of_their_own_and_are_not_packed_later() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(3))
    alone = [object_keys.binary_key(FLOW, binary) for binary in ids]
    assert await objects(store) == sorted(alone)
    later = Process(store)
    await later.store(numbered(30))
    assert sorted(later.reused) == [False] * 27 + [True] * 3
    (pack,) = await objects(store, PACKS)
    assert len((await store.get(pack)).data) == 27 * (20 + 40) + 48
    reader = Process(store)
    assert [await reader.read(binary) for binary in ids] == numbered(3)


async def test_a_large_content_gets_an_object_of_its_own() -> None:
    store = MemoryObjectStore()
    large = [bytes(pack_writer.PACKED_BYTES), bytes(pack_writer.PACKED_BYTES + 1)]
    _, alone = await Process(store).store(large)
    await Process(store).store([large[0], *numbered(20)])
    assert len(await objects(store, PACKS)) == 1
    assert object_keys.binary_key(FLOW, alone) in await objects(store)


async def test_the_first_content_of_a_large_pack_is_read_as_a_range_and_the_second_loads_the_pack() -> None:
    store = MemoryObjectStore()
    contents = numbered(200, size=10_000)
    ids = await Process(store).store(contents)
    reader = Process(store)
    assert await reader.read(ids[100]) == contents[100]
    listed = len(reader.requests)
    assert reader.requests[-1] == f"open_stream {PACKS}"
    assert [await reader.read(binary) for binary in ids] == contents
    assert reader.requests[listed:] == [f"get {PACKS}"]


async def test_a_full_pack_is_stored_at_once_and_another_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "PACK_BYTES", 20_000)
    store = MemoryObjectStore()
    process = Process(store)
    ids = [await process.files.store(body_of(content)) for content in numbered(100, size=1_000)]
    assert len(await objects(store, PACKS)) == 5
    assert [await process.read(binary) for binary in ids] == numbered(100, size=1_000)


async def test_an_index_of_any_length_is_read() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(3_000))
    later = Process(store)
    await later.store(numbered(3_000))
    assert later.reused == [True] * 3_000
    assert await later.read(ids[2_999]) == numbered(3_000)[2_999]


async def test_a_pack_stored_after_the_first_listing_is_found() -> None:
    store = MemoryObjectStore()
    await Process(store).store(numbered(20))
    reader = Process(store)
    assert await reader.read(BinaryId(blake3(numbered(1)[0]).hexdigest())) == numbered(1)[0]
    ids = await Process(store).store(numbered(60))
    assert await reader.read(ids[50]) == numbered(60)[50]


async def test_an_altered_content_is_named_with_its_pack_and_the_others_are_read() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(20))
    (pack,) = await objects(store)
    await altered(store, pack, 25)
    reader = Process(store)
    with pytest.raises(DamagedError, match=f"Binary File {ids[1]} in the pack {pack} is damaged"):
        await reader.read(ids[1])
    assert [event.id for event in reader.reporter.events if isinstance(event, BinaryFileFailed)] == [ids[1]]
    assert await reader.read(ids[2]) == numbered(20)[2]


async def test_contents_that_are_given_together_are_stored_once_and_large_ones_alone() -> None:
    store = MemoryObjectStore()
    contents = [*numbered(40), bytes(pack_writer.PACKED_BYTES + 1), b"", *numbered(40)]
    process = Process(store)
    ids = await process.files.store_contents(contents)
    await process.files.flush()
    assert ids == [blake3(content).hexdigest() for content in contents]
    assert sorted(process.reused) == [False] * 42 + [True] * 40
    stored = [event for event in process.reporter.events if isinstance(event, BinaryFileStored)]
    assert sum(event.size for event in stored if not event.reused) == sum(map(len, set(contents)))
    assert len(await objects(store, PACKS)) == 1
    assert await objects(store) == sorted([object_keys.binary_key(FLOW, ids[40]), *await objects(store, PACKS)])
    assert [await Process(store).read(binary) for binary in ids] == contents


async def test_contents_of_a_pack_are_read_together_and_the_others_are_left_to_open() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(200, size=10_000))
    (alone,) = await Process(store).store([b"alone"])
    reader = Process(store)
    wanted = [*ids[50:150], alone, BinaryId("0" * 64)]
    together = await reader.files.read_packed(wanted)
    assert together == dict(zip(ids[50:150], numbered(200, size=10_000)[50:150], strict=True))
    assert reader.requests == [f"list_page {PACKS}", f"open_stream {PACKS}", f"get {PACKS}"]
    assert await reader.files.read_packed(ids[:1]) == {}  # a range of the pack is less than the pack


async def test_contents_that_are_read_together_take_some_megabytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "TOGETHER_BYTES", 55_000)
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(20, size=10_000))
    assert list(await Process(store).files.read_packed(ids)) == ids[:5]


async def test_what_is_damaged_or_missing_is_not_among_contents_that_are_read_together() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(20))
    (pack,) = await objects(store)
    await altered(store, pack, 25)
    reader = Process(store)
    together = await reader.files.read_packed(ids)
    assert together == {binary: content for binary, content in zip(ids, numbered(20), strict=True) if binary != ids[1]}
    with pytest.raises(DamagedError, match=f"Binary File {ids[1]} in the pack {pack} is damaged"):
        await reader.read(ids[1])


async def test_contents_of_a_pack_that_is_gone_are_left_to_open_which_names_it() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(100, size=10_000))
    reader = Process(store)
    await reader.read(ids[0])  # a range, so only the index is in memory
    (pack,) = await objects(store)
    await store.delete(pack)
    assert await reader.files.read_packed(ids) == {}
    with pytest.raises(DamagedError, match=f"{ids[1]} is missing from the store, with its pack {pack}"):
        await reader.read(ids[1])


async def test_a_pack_with_an_unreadable_index_is_named_only_when_a_content_is_missing() -> None:
    store = MemoryObjectStore()
    lost = await Process(store).store(numbered(20))
    (pack,) = await objects(store)
    found = await Process(store).store(numbered(60)[20:])
    await altered(store, pack, 20 * 20)
    reader = Process(store)
    assert await reader.read(found[0]) == numbered(60)[20]
    with pytest.raises(DamagedError, match=f"{lost[0]} is missing .* The pack {pack} is damaged: its index"):
        await reader.read(lost[0])


async def test_the_contents_of_a_damaged_pack_are_stored_again() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(20))
    (pack,) = await objects(store)
    await altered(store, pack, 20 * 20)
    await Process(store).store(numbered(21))
    reader = Process(store)
    assert await reader.read(ids[7]) == numbered(20)[7]


async def test_a_missing_pack_is_named() -> None:
    store = MemoryObjectStore()
    ids = await Process(store).store(numbered(100, size=10_000))
    reader = Process(store)
    await reader.read(ids[0])
    (pack,) = await objects(store)
    await store.delete(pack)
    with pytest.raises(DamagedError, match=f"{ids[1]} is missing from the store, with its pack {pack}"):
        await reader.read(ids[1])


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of two contents or more, so that small worlds have many."""
    monkeypatch.setattr(pack_writer, "MIN_PACKED", 2)


def world_of(*numbers: int, text: str = "text") -> AttachmentWorld:
    rows = {number: f"{text} {number}" for number in numbers}
    return AttachmentWorld({"a": rows, "b": {1: "one", 2: "text 3"}}, limits=Limits(event_file_rows=5, range_rows=3))


async def calls_around_packs(*, again: bool) -> list[int]:
    """Return the numbers of the calls about Binary Files, and of the two before and after each of them."""
    world = world_of(*range(9))
    if again:
        await world.move()
        change(world)
    faults = Faults()
    await world.move(faults)
    named = [number for number, call in enumerate(faults.trace) if "/binaries/" in call]
    return sorted({near for number in named for near in range(number - 2, number + 3)})


def change(world: AttachmentWorld) -> None:
    world.tables["a"] = world_of(*range(4, 16)).tables["a"] | {5: "changed", 6: "one"}


@pytest.mark.slow
@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("again", [False, True], ids=["first Movement", "second"])
@pytest.mark.parametrize("changed", [False, True], ids=["same source", "source changed meanwhile"])
@on_trio
async def test_after_a_kill_at_any_call_around_a_pack_the_next_run_resumes(again: bool, changed: bool) -> None:
    calls = await calls_around_packs(again=again)
    assert len(calls) > 20
    for crash_at in calls:
        world = world_of(*range(9))
        if again:
            await world.move()
            change(world)
        with may_crash():
            await world.move(Faults(crash_at))
        if changed:
            world.tables["a"] |= {2: "other", 20: "new", 21: "one"}
        movement = await world.move()
        assert movement.status is Status.SUCCESS, movement.problems
        assert world.destination.tables == world.tables
        assert set(world.destination.loads.values()) == {1}
        assert await world.packs()


@pytest.mark.usefixtures("packing")
@on_trio
async def test_a_pack_is_stored_before_the_event_file_that_names_its_contents() -> None:
    world, faults = world_of(*range(9)), Faults()
    await world.move(faults)
    stored = [line for line in faults.trace if line.startswith("after store.put")]
    kinds = ["pack" if "/packs/" in line else "file" for line in stored if "/packs/" in line or "/events/" in line]
    assert kinds == ["pack", "file", "pack", "file", "file"]  # what "b" holds was "text 3", and one alone


@pytest.mark.usefixtures("packing")
@on_trio
async def test_pruning_keeps_a_pack_with_a_needed_content() -> None:
    world = world_of(*range(9))
    await world.move()
    first = await world.packs()
    world.tables["a"] = world_of(*range(9), text="later").tables["a"] | {0: "text 0"}
    await world.move()
    await world.compact()
    pruning = await world.prune()
    left = await world.packs()
    assert Reason.BINARY_FILE in pruning.going
    assert len(first & left) == 1  # the one with "text 0", which is also the one with "text 3" of b
    name = await world.add_destination("new")
    world.further[name] = type(world.destination)(location=world.further[name].location)
    assert (await world.bring(name)).status is Status.SUCCESS
    assert world.further[name].tables == world.tables
    assert Reason.BINARY_FILE not in (await world.prune()).going
    world.tables, world.allow_deletes = {"a": {}, "b": {}}, ("*",)
    await world.move()
    await world.compact()
    await world.prune()
    assert await world.packs() == set()


@pytest.mark.usefixtures("packing")
@on_trio
async def test_pruning_keeps_a_pack_with_an_unreadable_index() -> None:
    world = world_of(*range(4))
    await world.move()
    unreadable = {f"{PACKS}{'ab' * 32}", f"{PACKS}unknown"}
    for key in unreadable:
        await world.store.put(ObjectKey(key), b"?", PutCondition.ABSENT)
    await world.prune()
    assert unreadable <= await world.packs()


async def test_two_thousand_small_files_are_moved_in_few_objects(tmp_path: Path) -> None:
    for number in range(2_000):
        file = tmp_path / "source" / f"{number % 20}" / f"{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number}".encode() * (number % 500))
    world = AttachmentWorld({}, limits=Limits())
    store = world.store = DirectoryObjectStore(tmp_path / "store")
    source, destination = FilesSource(tmp_path / "source"), FilesDestination(tmp_path / "destination")
    movement = await Mover(world.context(), FLOW, source, destination, "worker").run()
    assert movement.status is Status.SUCCESS, movement.problems
    assert described(tmp_path / "source") == described(tmp_path / "destination")
    assert len(await objects(store, object_keys.binaries_prefix(FLOW))) == 1


class AbsentHelper:
    """Counts how often a helper is asked for, and starts none."""

    asked = 0

    def open(self, movement: Movement) -> AbstractAsyncContextManager[AsyncIterator[HelperEvent]]:
        self.asked += 1
        raise TransientError(f"there is no helper for Movement {movement.number}")


@pytest.mark.parametrize(("most", "event_files"), [(800_000, 3), (1_600_000, 2)])
async def test_a_tree_with_large_contents_has_more_event_files_and_is_imported_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, event_files: int
) -> None:
    for number in range(2_000):
        file = tmp_path / "source" / f"{number % 20}" / f"{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number:04}".encode() * 250)
    monkeypatch.setattr(chunk_writer, "FIRST_CONTENT_BYTES", 800_000)
    monkeypatch.setattr(chunk_writer, "MAX_CONTENT_BYTES", most)
    world = AttachmentWorld({}, limits=Limits())
    store = world.store = DirectoryObjectStore(tmp_path / "store")
    source, destination = FilesSource(tmp_path / "source"), FilesDestination(tmp_path / "destination")
    helper = AbsentHelper()
    movement = await Mover(world.context(), FLOW, source, destination, "worker", helper).run()
    assert movement.status is Status.SUCCESS, movement.problems
    assert described(tmp_path / "source") == described(tmp_path / "destination")
    # A block has 500 entries and 0.5 MB, and 20 entries are left: a file is full after two blocks, or twice as many.
    assert len(await objects(store, EVENTS)) == event_files
    assert helper.asked == 1


async def test_a_tree_of_few_large_files_asks_for_no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a", "b"):
        (tmp_path / "source" / name).write_bytes(bytes(2_000_000))
    monkeypatch.setattr(chunk_writer, "FIRST_CONTENT_BYTES", 800_000)
    world = AttachmentWorld({}, limits=Limits())
    source, destination = FilesSource(tmp_path / "source"), FilesDestination(tmp_path / "destination")
    helper = AbsentHelper()
    assert (await Mover(world.context(), FLOW, source, destination, "worker", helper).run()).status is Status.SUCCESS
    assert helper.asked == 0
