"""Rejected records of a stream whose app is down stay rejected, with the reason; other streams go on, and the Movement settles."""

from __future__ import annotations

from pathlib import Path

import anyio
import apsw
import pytest

import pipeline
from tests.kit.plugins import write_plugin

PLUGIN = """\
keyed, created, transacted, staged = (Importer(name) for name in ("keyed", "created", "transacted", "staged"))
HERE = Path(__file__).parent

def note(name: str) -> None:
    with (HERE / "calls").open("a") as calls:
        calls.write(f"{name}\\n")

async def take(key: int, ctx: Import) -> None:
    mode = (HERE / "mode").read_text()
    note("things")
    if mode == "down":
        raise ConnectionError("away")
    if mode == "stop":
        raise Stop("enough")
    if mode == "bad" and key == 1:
        raise Refused("one is bad")
    if key == 2:
        await ctx.ids.need("others", 9)

async def others(target: object, batch: Batch[dict[str, object]], ctx: Import) -> None:
    for one in batch.upserts:
        note("others")
        await ctx.ids.put("others", one.key, f"new-{one.key}")

async def things(target: object, batch: Batch[dict[str, object]], ctx: Import) -> None:
    for one in batch.records:
        await take(one.key, ctx)

for importer in (keyed, created, transacted, staged):
    importer.applies("others", row=dict)(others)
keyed.applies("things", row=dict)(things)
transacted.applies("things", row=dict, delivery="transaction")(things)

@created.creates("things", row=dict)
async def create(target: None, row: dict[str, object], ctx: Import) -> str:
    await take(row["id"], ctx)
    return f"new-{row['id']}"

@create.find
async def find(target: None, row: dict[str, object], ctx: Import) -> None:
    return None

@transacted.transaction
async def transaction(target: None) -> AsyncIterator[dict[str, str]]:
    path = HERE / "marks"
    marks = json.loads(path.read_text()) if path.exists() else {}
    yield marks
    path.write_text(json.dumps(marks))

@transaction.read_marks
async def read_marks(marks: dict[str, str]) -> dict[str, bytes]:
    return {name: mark.encode() for name, mark in marks.items()}

@transaction.write_mark
async def write_mark(marks: dict[str, str], name: str, mark: bytes) -> None:
    marks[name] = mark.decode()

@staged.stages("things", row=dict)
async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> str:
    for one in file.records:
        try:
            await take(one.key, ctx)
        except Refused as error:
            file.refuse(one, error.reason)
    return file.id

@stage.publish
async def publish(target: None, tokens: list[str], ctx: Import) -> None:
    pass
"""

LEVELS = ("keyed", "created", "transacted", "staged")
DOWN = (("down", "failed 4 times: ConnectionError: away"), ("stop", "has stopped: enough"))


class World:
    """A database of `things` and `others`, and a plug-in whose app is `bad`, `down`, `stop` or `up`."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.source = directory, str(directory / "app.db")
        self.plugin = write_plugin(directory / "app.py", PLUGIN)
        self.settings = pipeline.Settings(home=directory / "home", progress_seconds=0.2)
        self.change("CREATE TABLE others (id INTEGER PRIMARY KEY); CREATE TABLE things (id INTEGER PRIMARY KEY)")
        self.change("INSERT INTO others VALUES (1); INSERT INTO things VALUES (1), (2), (3)")

    def change(self, statement: str) -> None:
        with apsw.Connection(self.source) as app:
            app.execute(statement)
        app.close()

    def turn(self, mode: str) -> None:
        """Let the app be in this mode, and forget what was called."""
        (self.directory / "mode").write_text(mode)
        (self.directory / "calls").write_text("")

    def calls(self, stream: str) -> int:
        return (self.directory / "calls").read_text().split().count(stream)

    async def move(self, level: str) -> pipeline.Movement:
        return await pipeline.move(self.source, f"{self.plugin}:{level}", flow="app", settings=self.settings)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for module in ("pipeline.kit.loading.outcomes", "pipeline.kit.loading.delivery.transactions"):
        monkeypatch.setattr(f"{module}.FIRST_PAUSE_SECONDS", 0.0)
    return World(tmp_path)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("mode", "reason"), DOWN)
async def test_what_cannot_be_tried_again_stays_rejected_and_others_go_on(
    level: str, mode: str, reason: str, world: World
) -> None:
    world.turn("bad")
    movement = await world.move(level)
    assert (movement.status, movement.totals.rejected) == (pipeline.Status.INCOMPLETE, 2)
    world.change("INSERT INTO others VALUES (9)")
    world.turn(mode)
    movement = await world.move(level)
    assert (movement.status, movement.totals.rejected) == (pipeline.Status.INCOMPLETE, 2)
    assert any(reason in problem for problem in movement.problems), movement.problems
    assert any("one is bad" in problem for problem in movement.problems), "the reason of its own is gone"
    assert world.calls("others") == 1
    assert world.calls("things") <= 2 * (4 if mode == "down" else 1)  # single objects are created side by side
    retried = await pipeline.retry("app", settings=world.settings)
    assert (retried.tried, retried.accepted, retried.left) == (2, 0, 2)
    world.turn("up")
    movement = await world.move(level)
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())


@pytest.mark.parametrize("level", LEVELS)
async def test_a_stream_that_has_stopped_is_not_called_for_its_rejected_records(level: str, world: World) -> None:
    world.turn("bad")
    await world.move(level)
    world.change("INSERT INTO others VALUES (9); INSERT INTO things VALUES (4)")
    world.turn("stop")
    movement = await world.move(level)
    assert (movement.status, movement.totals.files_failed) == (pipeline.Status.INCOMPLETE, 1)
    assert (world.calls("others"), world.calls("things")) == (1, 1)
    assert "has stopped: enough" in movement.problems[0]
    assert "key [1] was rejected: one is bad" in movement.problems[1]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("mode", "reason"), DOWN)
async def test_workers_settle_a_movement_whose_rejected_records_cannot_be_tried_again(
    level: str, mode: str, reason: str, world: World
) -> None:
    settings, stop = world.settings, anyio.Event()
    await pipeline.create_flow("app", world.source, f"{world.plugin}:{level}", settings=settings)

    async def settled() -> pipeline.Movement:
        movement, _ = await pipeline.start("app", settings=settings)
        with anyio.fail_after(30):
            return await pipeline.wait_settled("app", movement.number, settings=settings)

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(lambda: pipeline.run_worker(stop=stop, settings=settings))
        world.turn("bad")
        assert (await settled()).totals.rejected == 2
        world.change("INSERT INTO others VALUES (9)")
        world.turn(mode)
        movement = await settled()
        assert (movement.status, movement.totals.rejected) == (pipeline.Status.INCOMPLETE, 2)
        assert any(reason in problem for problem in movement.problems), movement.problems
        assert world.calls("others") == 1
        world.turn("up")
        assert (await settled()).status is pipeline.Status.SUCCESS
        stop.set()
