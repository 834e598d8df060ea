"""Objects are created side by side: at the app's own rate, in order for each key, and held together when it is busy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
import orjson
import pytest

from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Again, Import, Importer, Refused
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import FileToLoad, Loaded
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.destination import file_to_load
from tests.loops import on_trio

FLOW = FlowName("crm 2026")
SECONDS = 0.02
STORE_SECONDS = 0.03
"""What a put takes at a store such as S3."""


class SlowStore(MemoryObjectStore):
    """A store whose puts take a while. It counts them; `fail` says which of them fail."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.fail: Callable[[ObjectKey], bool] = lambda key: False

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        self.puts += 1
        await anyio.sleep(STORE_SECONDS)
        if self.fail(key):
            raise TransientError("no answer")
        return await super().put(key, body, condition)


@dataclass
class Api:
    """Objects of an API, each of which takes a while. `done` are the effects on each key, in order."""

    store: MemoryObjectStore = field(default_factory=SlowStore)
    done: list[tuple[object, object]] = field(default_factory=list)
    ids: dict[object, str] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    before: Callable[[], None] = lambda: None
    seconds: Callable[[], float] = lambda: SECONDS

    def destination(self) -> ImporterDestination:
        importer = Importer("api")

        async def effect(key: object, name: object) -> None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await anyio.sleep(self.seconds())
                self.before()
            finally:
                self.at_once -= 1
            self.done.append((key, name))

        @importer.creates("things", row=dict)
        async def create(target: None, row: dict[str, object], ctx: Import) -> str:
            await effect(row["id"], row["name"])
            self.ids[row["id"]] = f"new-{row['id']}"
            return f"new-{row['id']}"

        @create.find
        async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
            return self.ids.get(row["id"])

        @create.update
        async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
            await effect(row["id"], row["name"])

        @create.delete
        async def delete(target: None, id_: str, ctx: Import) -> None:
            await effect(int(id_.removeprefix("new-")), None)

        return ImporterDestination("api:x", importer, None, self.store)

    @property
    def created(self) -> Counter[object]:
        """How often each key has had an effect."""
        return Counter(key for key, _ in self.done)


SCHEMA = StreamSchema(
    StreamName("things"), Label("things"), (Column("id", "integer", nullable=False), Column("name", "text")), ("id",)
)


def file_of(records: Sequence[tuple[int, str | None]], phase: Phase = Phase.FULL, chunk: int = 0) -> FileToLoad:
    """Return an Event File with these records; without a name it is a delete."""
    lines = [{"upsert": {"id": id_, "name": name}} if name else {"delete": {"id": id_}} for id_, name in records]
    blocks = [b"".join(orjson.dumps(line) + b"\n" for line in lines[at : at + 700]) for at in range(0, len(lines), 700)]
    return file_to_load(SCHEMA, blocks, phase=phase, chunk=chunk)


async def load(api: Api, file: FileToLoad) -> float:
    """Load a file, unless it is marked; return the seconds that it took."""
    async with api.destination().open(FLOW) as session:
        begun = anyio.current_time()
        assert file.entry.id in await session.marks() or isinstance(await session.load(file, after=()), Loaded)
        return anyio.current_time() - begun


@on_trio
async def test_objects_are_created_at_the_rate_of_the_app_whatever_a_put_takes() -> None:
    store, count = SlowStore(), 8000
    api = Api(store)
    seconds = await load(api, file_of([(number, "x") for number in range(count)]))
    ideal = count / 16 * SECONDS
    assert ideal / seconds >= 0.9, f"{seconds} seconds, and the ideal is {ideal}"
    assert (api.most_at_once, len(api.done)) == (16, count)
    assert store.puts < count / 25


@on_trio
async def test_files_of_one_stream_share_its_sixteen_places() -> None:
    api = Api()
    async with api.destination().open(FLOW) as session, anyio.create_task_group() as group:
        for chunk in range(3):
            some = file_of([(1000 * chunk + number, "x") for number in range(100)], chunk=chunk)
            group.start_soon(partial(session.load, some, after=()))
    assert (api.most_at_once, len(api.done)) == (16, 300)


@pytest.mark.parametrize("seed", range(3))
@on_trio
async def test_the_records_of_a_key_stay_in_order(seed: int) -> None:
    chance = random.Random(seed)
    api = Api(seconds=lambda: chance.random() * SECONDS)
    records: list[tuple[int, str | None]] = []
    there: set[int] = set()
    for number in range(2500):
        key = chance.randrange(40)
        is_delete = key in there and chance.random() < 0.3
        records.append((key, None if is_delete else f"{number}"))
        (there.discard if is_delete else there.add)(key)
    await load(api, file_of(records, Phase.INCREMENTAL))
    for key in range(40):
        assert [name for one, name in api.done if one == key] == [name for one, name in records if one == key]


@on_trio
async def test_an_app_that_limits_its_rate_is_waited_for_once_by_the_whole_lane() -> None:
    api, begun, refused = Api(), anyio.current_time(), list[float]()

    def limit() -> None:
        now = anyio.current_time() - begun
        if now < 5:
            refused.append(now)
            raise Again(after=10)

    api.before = limit
    seconds = await load(api, file_of([(number, "x") for number in range(160)]))
    assert len(refused) == 16  # those that were under way
    assert seconds < 11  # one wait, and no attempt was counted
    assert api.created == dict.fromkeys(range(160), 1)


@on_trio
async def test_ids_that_cannot_be_stored_make_no_second_object() -> None:
    store = SlowStore()
    api, left = Api(store), 3

    def fail(key: ObjectKey) -> bool:
        nonlocal left
        if "id-map/" not in key or len(api.done) < 100:
            return False
        left -= 1
        return left >= 0

    store.fail = fail
    file = file_of([(number, "x") for number in range(300)])
    async with api.destination().open(FLOW) as session:
        for _ in range(4):
            try:
                again = file_of([(number, "x") for number in range(300)])
                assert isinstance(await session.load(again, after=()), Loaded)
                break
            except TransientError:
                continue
    assert left < 0
    assert api.created == dict.fromkeys(range(300), 1)
    async with api.destination().open(FLOW) as another:
        assert list(await another.marks()) == [file.entry.id]
    await load(api, file_of([(number, "y") for number in range(300)], Phase.INCREMENTAL))
    assert api.created == dict.fromkeys(range(300), 2)  # each was updated: the ids are known


@pytest.mark.parametrize("at", range(5))
@on_trio
async def test_a_process_that_dies_at_a_put_leaves_no_second_object(at: int) -> None:
    store, api = SlowStore(), Api()
    api.store = store

    def die(key: ObjectKey) -> bool:
        if store.puts > at:
            scope.cancel()
        return False

    store.fail = die
    with anyio.CancelScope() as scope:
        await load(api, file_of([(number, "x") for number in range(100)]))
    assert scope.cancelled_caught
    store.fail = lambda key: False
    await load(api, file_of([(number, "x") for number in range(100)]))
    assert api.created == dict.fromkeys(range(100), 1)


@on_trio
async def test_a_later_record_of_a_key_that_is_in_doubt_makes_no_second_object() -> None:
    importer, calls, updated = Importer("api"), list[object](), list[object]()

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        calls.append(row["name"])
        if len(calls) == 1:
            raise TimeoutError("no answer")  # and the object exists
        raise Refused("not now")

    @create.find
    async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
        return "new-1" if row["name"] == "second" else None  # it does not show at once

    @create.update
    async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
        updated.append((id_, row["name"]))

    async with ImporterDestination("api:x", importer, None, MemoryObjectStore()).open(FLOW) as session:
        loaded = await session.load(file_of([(1, "first"), (1, "second")], Phase.INCREMENTAL), after=())
        assert isinstance(loaded, Loaded)
    assert (calls, updated) == (["first", "first"], [("new-1", "second")])


@on_trio
async def test_what_was_refused_while_in_doubt_is_looked_for_by_a_later_session() -> None:
    importer, store, calls = Importer("api"), MemoryObjectStore(), list[object]()
    shows = False

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        calls.append(row["name"])
        if len(calls) == 1:
            raise TimeoutError("no answer")  # and the object exists
        raise Refused("not now")

    @create.find
    async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
        return "new-1" if shows else None  # it does not show at once

    destination = ImporterDestination("api:x", importer, None, store)
    async with destination.open(FLOW) as session:
        assert isinstance(await session.load(file_of([(1, "x")]), after=()), Loaded)
    shows = True
    async with destination.open(FLOW) as session:
        assert await session.retry_rejected() == []
    assert calls == ["x", "x"]
