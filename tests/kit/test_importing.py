"""Objects are created once, whatever is lost; what cannot be applied is kept and named."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

import pipeline
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.engine.control.early_end import Fenced, fence_by
from pipeline.kit import Again, Batch, Delete, Gone, Import, Importer, Refused, Stop, Upsert
from pipeline.kit.ledger.kept import Kept
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.log_events import log
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.kit.app import Objects, move


@pytest.fixture
def source(tmp_path: Path) -> str:
    change(tmp_path, "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    change(tmp_path, "INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    return str(tmp_path / "app.db")


@pytest.fixture
def logged() -> list[tuple[str, dict[str, object]]]:
    """The log events of the test."""
    events = list[tuple[str, dict[str, object]]]()
    log.configure(lambda level, event, values: events.append((event, dict(values))))
    return events


def change(home: Path, statement: str) -> None:
    with apsw.Connection(str(home / "app.db")) as app:
        app.execute(statement)


async def test_the_fence_of_an_app_that_does_not_answer_holds() -> None:
    importer, store = Importer("locked", accepts="things/1"), MemoryObjectStore()
    flow = Flow(FlowName("crm"), "source", "destination", datetime.now(UTC))

    @importer.connect
    async def connect(settings: None) -> AsyncIterator[None]:
        for reason in ("database is locked",):
            raise TimeoutError(reason)
        yield

    destination = ImporterDestination("app:x", importer, None).in_store(store)
    assert await fence_by(lambda flow: destination)(flow, 3) == Fenced(True, {})
    assert await Kept(store, flow.marks_namespace).fenced() == 3


ROWS = [(1, "one"), (2, "two"), (3, "three")]


class Killed(BaseException):
    """The process dies here."""


async def test_objects_are_created_updated_and_deleted(source: str, tmp_path: Path) -> None:
    api = Objects()
    movement = await move(source, api.destination(), tmp_path)
    assert (movement.status, api.rows()) == (pipeline.Status.SUCCESS, ROWS)
    change(tmp_path, "UPDATE things SET name = 'changed' WHERE id = 2")
    change(tmp_path, "DELETE FROM things WHERE id = 3")
    movement = await move(source, api.destination(), tmp_path)
    assert (movement.status, api.rows(), api.created) == (pipeline.Status.SUCCESS, [(1, "one"), (2, "changed")], 3)
    change(tmp_path, "INSERT INTO things VALUES (3, 'again')")
    await move(source, api.destination(), tmp_path)
    assert (api.rows(), api.created) == ([(1, "one"), (2, "changed"), (3, "again")], 4)


@pytest.mark.parametrize("honours_keys", [True, False])
async def test_a_crash_after_the_effect_makes_no_second_object(honours_keys: bool, source: str, tmp_path: Path) -> None:
    api = Objects(honours_keys=honours_keys)

    def die(what: str, row: dict[str, object]) -> None:
        raise Killed

    api.after = die
    importer = api.importer(find=not honours_keys)
    with pytest.raises(Killed):
        await move(source, api.destination(importer), tmp_path)
    assert api.created > 0
    api.after = lambda what, row: None
    movement = await move(source, api.destination(importer), tmp_path)
    assert (movement.status, api.rows(), api.created) == (pipeline.Status.SUCCESS, ROWS, 3)


async def test_a_lost_answer_makes_no_second_object(source: str, tmp_path: Path) -> None:
    api, lost = Objects(), {1, 2, 3}

    def lose(what: str, row: dict[str, object]) -> None:
        if int(str(row["id"])) in lost:
            lost.discard(int(str(row["id"])))
            raise TimeoutError("no answer")

    api.after = lose
    movement = await move(source, api.destination(), tmp_path)
    assert (movement.status, api.rows(), api.created, lost) == (pipeline.Status.SUCCESS, ROWS, 3, set())


async def test_what_the_app_refuses_is_kept_until_it_does_not(source: str, tmp_path: Path) -> None:
    api = Objects()

    def refuse(what: str, row: dict[str, object]) -> None:
        if row["id"] == 2:
            raise Refused("two is not allowed", column="name")

    api.before = refuse
    movement = await move(source, api.destination(), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert movement.problems == ("Event File 1/things/full/0, line 3, key [2] was rejected: two is not allowed",)
    assert api.rows() == [(1, "one"), (3, "three")]
    api.before = lambda what, row: None
    movement = await move(source, api.destination(), tmp_path)
    assert (movement.status, api.rows(), api.created) == (pipeline.Status.SUCCESS, ROWS, 3)


@pytest.mark.parametrize(
    ("statement", "without", "reason"),
    [
        (
            "UPDATE things SET name = 'x' WHERE id = 1",
            "update",
            "it has changed, and the handler of 'things' has no `update`",
        ),
        ("DELETE FROM things WHERE id = 1", "delete", "to be deleted, and the handler of 'things' has no `delete`"),
    ],
)
async def test_what_a_handler_cannot_do_is_named(
    statement: str, without: str, reason: str, source: str, tmp_path: Path
) -> None:
    api = Objects()
    await move(source, api.destination(), tmp_path)
    change(tmp_path, statement)
    movement = await move(source, api.destination(api.importer(**{without: False})), tmp_path)  # type: ignore[arg-type]
    assert movement.status is pipeline.Status.INCOMPLETE
    assert reason in movement.problems[0]


async def test_an_app_that_is_busy_is_asked_again(source: str, tmp_path: Path) -> None:
    api, busy = Objects(), 20

    def wait(what: str, row: dict[str, object]) -> None:
        nonlocal busy
        if busy:
            busy -= 1
            raise Again(after=0.005)

    api.before = wait
    assert (await move(source, api.destination(), tmp_path)).status is pipeline.Status.SUCCESS
    assert (busy, api.created) == (0, 3)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("missing"), r"failed 4 times: KeyError: 'missing' \(.*test_importing.py, line \d+\)"),
        (Stop("the account is closed"), r"has stopped: the account is closed \(.*app.py, line \d+\)"),
    ],
)
async def test_a_handler_that_fails_stops_its_stream_alone(
    error: Exception, reason: str, source: str, tmp_path: Path
) -> None:
    change(tmp_path, "CREATE TABLE others (id INTEGER PRIMARY KEY)")
    change(tmp_path, "INSERT INTO others VALUES (1)")
    api = Objects()
    importer = api.importer()

    @importer.applies("others", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...

    def fail(what: str, row: dict[str, object]) -> None:
        raise error

    api.before = fail
    movement = await move(source, api.destination(importer), tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert (movement.totals.files_imported, movement.totals.files_failed) == (1, 1)
    (problem,) = movement.problems
    assert re.search(reason, problem)


async def test_an_update_of_what_is_gone_creates_it(source: str, tmp_path: Path) -> None:
    api = Objects()
    await move(source, api.destination(), tmp_path)
    change(tmp_path, "UPDATE things SET name = 'back' WHERE id = 1")
    del api.by_id["new-1"]

    def gone(what: str, row: dict[str, object]) -> None:
        if what == "update":
            raise Gone

    api.before = gone
    movement = await move(source, api.destination(), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert api.rows()[0] == (1, "back")


async def test_a_record_waits_for_the_id_that_it_needs(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE a_issues (id INTEGER PRIMARY KEY, project INTEGER)")
    change(tmp_path, "CREATE TABLE projects (id INTEGER PRIMARY KEY)")
    change(tmp_path, "INSERT INTO a_issues VALUES (1, 7), (2, 8), (3, 9)")
    change(tmp_path, "INSERT INTO projects VALUES (7), (8)")
    made: list[str] = []
    importer = Importer("api")

    @importer.creates("projects", row=dict)
    async def project(target: None, row: dict[str, object], ctx: Import) -> str:
        made.append(f"project {row['id']}")
        return f"p{row['id']}"

    @importer.creates("a_issues", row=dict)
    async def issue(target: None, row: dict[str, object], ctx: Import) -> str:
        made.append(f"issue {row['id']} of {await ctx.ids.need('projects', row['project'])}")
        return f"i{row['id']}"

    movement = await move(str(tmp_path / "app.db"), ImporterDestination("api:x", importer, None), tmp_path)
    assert sorted(made) == ["issue 1 of p7", "issue 2 of p8", "project 7", "project 8"]
    assert movement.status is pipeline.Status.INCOMPLETE
    assert "waits for the new id of projects '9'" in movement.problems[0]
    change(tmp_path, "INSERT INTO projects VALUES (9)")
    movement = await move(str(tmp_path / "app.db"), ImporterDestination("api:x", importer, None), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    assert made.count("issue 3 of p9") == 1


async def test_a_handler_says_something_for_people(
    source: str, tmp_path: Path, logged: list[tuple[str, dict[str, object]]]
) -> None:
    importer = Importer("api")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        ctx.tell("one")
        await ctx.tell("two")
        async with ctx.busy("three"):
            assert not ctx.stopping

    await move(source, ImporterDestination("api:x", importer, None), tmp_path)
    assert [values["text"] for event, values in logged if event == "plugin_tells"] == ["one", "two", "three"]


async def test_batches_hold_records_in_order_and_one_that_is_refused_alone_is_found(
    source: str, tmp_path: Path
) -> None:
    importer, batches = Importer("api"), list[list[object]]()

    @importer.applies("things", row=dict, batch=2)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        if any(record.key == 2 for record in batch.records):
            raise Refused("not two")
        batches.append(
            [record.key if isinstance(record, Upsert) else -int(str(record.key)) for record in batch.records]
        )
        assert all(isinstance(record, Delete) is (record not in list(batch.upserts)) for record in batch.records)

    movement = await move(source, ImporterDestination("api:x", importer, None), tmp_path)
    assert (movement.status, batches) == (pipeline.Status.INCOMPLETE, [[1], [3]])
    change(tmp_path, "DELETE FROM things WHERE id < 3")
    await move(source, ImporterDestination("api:x", importer, None), tmp_path)
    assert batches[2:] == [[-1]]


async def test_what_is_no_table_is_named_and_given_to_no_handler_of_all_streams(source: str, tmp_path: Path) -> None:
    change(tmp_path, "CREATE VIEW names AS SELECT name FROM things")
    importer, streams = Importer("api"), set[str]()

    @importer.applies("*", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        streams.add(ctx.file.split("/")[1])

    movement = await move(source, ImporterDestination("api:x", importer, None), tmp_path)
    assert (movement.status, streams) == (pipeline.Status.SUCCESS, {"things"})
    assert [(item.kind, item.name) for item in movement.inventory.items] == [("schema object", "@schema")]


async def test_an_object_that_is_gone_is_deleted_and_a_record_that_needs_it_is_named(
    source: str, tmp_path: Path
) -> None:
    api = Objects()
    await move(source, api.destination(), tmp_path)
    change(tmp_path, "DELETE FROM things WHERE id = 1")
    change(tmp_path, "INSERT INTO things VALUES (4, 'four')")
    importer = api.importer(delete=False)

    async def delete(target: None, id_: str, ctx: Import) -> None:
        raise Gone

    importer.handlers["things"].delete = delete

    def gone(what: str, row: dict[str, object]) -> None:
        raise Gone

    api.before = gone
    movement = await move(source, api.destination(importer), tmp_path)
    assert movement.totals.deletes == 1
    (problem,) = movement.problems
    assert "key [4] was rejected: the app says that an object which this record needs is gone" in problem


@pytest.mark.parametrize("how", ["creates", "applies"])
async def test_many_deletes_are_held_until_they_are_allowed(how: str, tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
    change(tmp_path, f"{numbers} INSERT INTO things SELECT i, 'x' FROM n")
    api, held = Objects(), set[object]()
    importer = api.importer() if how == "creates" else Importer("app")
    if how == "applies":

        @importer.applies("things", row=dict)
        async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
            held.update(record.key for record in batch.upserts)
            held.difference_update(record.key for record in batch.deletes)

    def left() -> int:
        return len(api.by_id) if how == "creates" else len(held)

    there, source = ImporterDestination("app:x", importer, None), str(tmp_path / "app.db")
    await move(source, there, tmp_path)
    change(tmp_path, "DELETE FROM things WHERE id > 400")
    movement = await move(source, there, tmp_path)
    assert (movement.status, left()) == (pipeline.Status.INCOMPLETE, 600)
    assert "--allow-deletes things" in movement.problems[0]
    movement = await move(source, there, tmp_path, allow_deletes=["things"])
    assert (movement.status, left(), movement.totals.deletes) == (pipeline.Status.SUCCESS, 400, 200)


def transactional(path: Path, fail: Callable[[str], None]) -> Importer:
    """Return an Importer of an SQLite database, in transactions; `fail` may raise at each of its steps."""
    importer = Importer("sql")

    @importer.connect
    async def connect() -> AsyncIterator[apsw.Connection]:
        connection = apsw.Connection(str(path))
        connection.execute("CREATE TABLE IF NOT EXISTS things (id PRIMARY KEY, name CHECK (name <> 'bad'), times)")
        connection.execute("CREATE TABLE IF NOT EXISTS marks (file PRIMARY KEY, mark)")
        try:
            yield connection
        finally:
            connection.close()

    @importer.transaction
    async def transaction(target: apsw.Connection) -> AsyncIterator[apsw.Connection]:
        with target:
            yield target
            fail("commit")
        fail("answer")

    @transaction.read_marks
    async def read_marks(tx: apsw.Connection) -> Mapping[str, bytes]:
        return {str(file): bytes(mark) for file, mark in tx.execute("SELECT file, mark FROM marks")}

    @transaction.write_mark
    async def write_mark(tx: apsw.Connection, file: str, mark: bytes) -> None:
        fail("mark")
        tx.execute("INSERT INTO marks VALUES (?, ?)", (file, mark))

    @importer.applies("things", row=dict, delivery="transaction", batch=2)
    async def apply(tx: apsw.Connection, batch: Batch[dict[str, object]], ctx: Import) -> None:
        for upsert in batch.upserts:
            fail("apply")
            statement = "INSERT INTO things VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1"
            try:
                tx.execute(statement, (int(str(upsert.key)), str(upsert.row["name"])))
            except apsw.ConstraintError as error:
                raise Refused(str(error)) from error

    return importer


@pytest.mark.parametrize("step", ["apply", "mark", "commit", "answer"])
@pytest.mark.parametrize("how", [Killed, TimeoutError])
async def test_rows_and_mark_are_committed_together(
    step: str, how: type[BaseException], source: str, tmp_path: Path
) -> None:
    left = 2

    def fail(at: str) -> None:
        nonlocal left
        if at == step and left:
            left -= 1
            raise how("here")

    destination = ImporterDestination("sql:x", transactional(tmp_path / "sql.db", fail), None)
    if how is Killed:
        while left:
            with pytest.raises(Killed):
                await move(source, destination, tmp_path)
    movement = await move(source, destination, tmp_path)
    assert (movement.status, left) == (pipeline.Status.SUCCESS, 0)
    connection = apsw.Connection(str(tmp_path / "sql.db"))
    found = connection.execute("SELECT id, name, times FROM things ORDER BY id").fetchall()
    connection.close()
    assert found == [(1, "one", 1), (2, "two", 1), (3, "three", 1)]


@pytest.mark.parametrize("step", ["apply", "mark"])
async def test_a_stop_in_a_transaction_is_not_tried_again(step: str, source: str, tmp_path: Path) -> None:
    stops: list[str] = []

    def stop(at: str) -> None:
        if at == step:
            stops.append(at)
            raise Stop("closed")

    importer = transactional(tmp_path / "sql.db", stop)
    movement = await move(source, ImporterDestination("sql:x", importer, None), tmp_path)
    assert (movement.status, stops) == (pipeline.Status.FAILED, [step])
    assert "has stopped: closed" in movement.problems[0]


@pytest.mark.parametrize("error", [pipeline.ConfigurationError("wrong"), pipeline.DamagedError("broken")])
async def test_an_error_that_another_call_repeats_ends_a_transaction_at_once(
    error: pipeline.PipelineError, source: str, tmp_path: Path
) -> None:
    calls: list[str] = []

    def fail(at: str) -> None:
        calls.append(at)
        raise error

    importer = transactional(tmp_path / "sql.db", fail)
    try:
        problems = (await move(source, ImporterDestination("sql:x", importer, None), tmp_path)).problems
    except pipeline.ConfigurationError as raised:
        problems = (str(raised),)
    assert str(error) in problems[0]
    assert calls == ["apply"]


async def test_a_record_that_breaks_a_transaction_is_left_out_of_it(source: str, tmp_path: Path) -> None:
    change(tmp_path, "UPDATE things SET name = 'bad' WHERE id <> 3")
    importer = transactional(tmp_path / "sql.db", lambda step: None)
    movement = await move(source, ImporterDestination("sql:x", importer, None), tmp_path)
    assert (movement.status, movement.totals.upserts, movement.totals.rejected) == (pipeline.Status.INCOMPLETE, 1, 2)
    change(tmp_path, "UPDATE things SET name = 'good'")
    movement = await move(source, ImporterDestination("sql:x", importer, None), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS
    connection = apsw.Connection(str(tmp_path / "sql.db"))
    assert connection.execute("SELECT id, name, times FROM things ORDER BY id").fetchall() == [
        (1, "good", 1),
        (2, "good", 1),
        (3, "three", 2),
    ]
    connection.close()


async def test_an_id_that_is_no_text_is_named_with_the_line(source: str, tmp_path: Path) -> None:
    importer = Importer("api")

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        return 7  # type: ignore[return-value]

    movement = await move(source, ImporterDestination("api:x", importer, None), tmp_path)
    assert movement.status is pipeline.Status.FAILED
    assert f"{__file__}, line " in movement.problems[0]
    assert "returned 7 in place of the new id. Return text" in movement.problems[0]


async def test_a_refusal_after_a_lost_answer_makes_no_second_object(source: str, tmp_path: Path) -> None:
    api, calls, asked = Objects(), list[str](), list[object]()
    importer = Importer("api")

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        if row["id"] != 2:
            return api.create(row, ctx.once_key)
        calls.append(ctx.once_key)
        if len(calls) == 2:
            raise Refused("it exists")
        api.create(row, ctx.once_key)
        raise TimeoutError("no answer")

    @create.find
    async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
        asked.append(row["id"])
        if len(asked) == 1:  # it does not show yet
            return None
        return next((id_ for id_, found in api.by_id.items() if found["id"] == row["id"]), None)

    movement = await move(source, api.destination(importer), tmp_path)
    assert (movement.status, api.rows(), api.created) == (pipeline.Status.SUCCESS, ROWS, 3)
    assert asked == [2, 2]
