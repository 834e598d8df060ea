"""Two workers at once, lost connections, locks, missing privileges: nothing is half-applied, and each has its message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.postgres.session import connection
from pipeline.domain.errors import ConfigurationError, PipelineError, RefusedError, TransientError
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.places import Place

STREAM = schema({"id": "integer", "v": "text"})
KILL = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'pipeline%'"
)


def paused(one: FileToLoad, first: bytes, asleep: anyio.Event, go: anyio.Event, later: bytes) -> FileToLoad:
    """Return the file with two blocks and a pause between them, from `asleep` until `go`."""

    async def blocks() -> AsyncIterator[bytes]:
        yield first
        asleep.set()
        await go.wait()
        yield later

    return replace(one, blocks=blocks())


async def test_one_of_several_workers_loads_a_file_and_the_lane_keeps_its_order(place: Place) -> None:
    outcomes: list[tuple[int, LoadOutcome]] = []

    async def work(worker: int) -> None:
        async with PostgresDestination(place.uri).open(FLOW) as session:
            before = None
            for chunk in range(6):
                one = file(STREAM, [upsert(id=1, v=f"{chunk}")], chunk)
                outcomes.append((chunk, await session.load(one, after=[] if before is None else [before])))
                before = one.entry.id

    async with anyio.create_task_group() as group:
        for worker in range(3):
            group.start_soon(work, worker)
    loaded = [chunk for chunk, outcome in outcomes if isinstance(outcome, Loaded)]
    assert sorted(loaded) == list(range(6))
    assert len(outcomes) == 18
    assert place.rows("SELECT * FROM item") == [(1, "5")]


async def test_a_worker_that_was_replaced_cannot_overwrite_newer_rows(place: Place) -> None:
    first, second = file(STREAM, [upsert(id=1, v="old")], 0), file(STREAM, [upsert(id=1, v="newer")], 1)
    asleep, go = anyio.Event(), anyio.Event()
    async with PostgresDestination(place.uri).open(FLOW) as zombie, PostgresDestination(place.uri).open(FLOW) as heir:

        async def sleep_and_wake() -> None:
            stale = paused(file(STREAM, [], 0), upsert(id=1, v="stale"), asleep, go, upsert(id=2, v="stale"))
            with pytest.raises(TransientError):
                await zombie.load(stale, after=[])

        async with anyio.create_task_group() as group:
            group.start_soon(sleep_and_wake)
            await asleep.wait()
            place.run(KILL)
            assert isinstance(await heir.load(first, after=[]), Loaded)
            assert isinstance(await heir.load(second, after=[first.entry.id]), Loaded)
            go.set()
        assert isinstance(await zombie.load(file(STREAM, [upsert(id=1, v="stale")], 0), after=[]), GaveWay)
    assert place.rows("SELECT * FROM item") == [(1, "newer")]


async def test_a_dropped_connection_leaves_nothing_half_applied_and_the_next_call_goes_on(place: Place) -> None:
    one = file(STREAM, [], 0)
    async with PostgresDestination(place.uri).open(FLOW) as session:

        async def blocks() -> AsyncIterator[bytes]:
            yield b"".join(upsert(id=n, v="x" * 100) for n in range(2000))
            place.run(KILL)
            yield upsert(id=1, v="y")

        with pytest.raises(TransientError, match=r"stream item: .*carries on where it stopped"):
            await session.load(replace(one, blocks=blocks()), after=[])
        assert await session.marks() == {}
        assert place.rows("SELECT count(*) FROM item") == [(0,)]
        place.run(KILL)
        assert isinstance(await session.load(file(STREAM, [upsert(id=1, v="y")], 0), after=[]), Loaded)
    assert place.rows("SELECT * FROM item") == [(1, "y")]


async def test_waiting_for_a_lock_of_the_app_has_a_limit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.SESSION, "lock_timeout", "200ms")
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(STREAM, [upsert(id=1, v="a")]), after=[])
        with psycopg.connect(place.uri) as app:
            app.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TransientError, match="another session holds a lock for too long"):
                await session.load(file(STREAM, [upsert(id=1, v="b")], 1), after=[])
        assert isinstance(await session.load(file(STREAM, [upsert(id=1, v="b")], 1), after=[]), Loaded)
    assert place.rows("SELECT * FROM item") == [(1, "b")]


async def test_a_missing_privilege_is_named(place: Place) -> None:
    place.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'secret word'")
    try:
        with pytest.raises(RefusedError, match="permission denied for database") as caught:
            async with PostgresDestination(place.as_user("guest")).open(FLOW):
                pass
        assert "secret" not in str(caught.value)
        place.run(
            "CREATE TABLE item (id bigint PRIMARY KEY, v text)",
            "GRANT CREATE ON DATABASE " + database(place) + " TO guest",
        )
        with pytest.raises(PipelineError, match="permission denied for table item"):
            async with PostgresDestination(place.as_user("guest")).open(FLOW) as session:
                await session.load(file(STREAM, [upsert(id=1, v="a")]), after=[])
    finally:
        place.run("DROP OWNED BY guest CASCADE", "DROP ROLE guest")


async def test_an_owner_without_superuser_rights_loads_children_before_parents(place: Place) -> None:
    place.run(
        "DROP ROLE IF EXISTS owner", "CREATE ROLE owner LOGIN", f"ALTER DATABASE {database(place)} OWNER TO owner"
    )
    place.run(
        "SET ROLE owner; CREATE SCHEMA app; CREATE TABLE app.parent (id bigint PRIMARY KEY, up bigint REFERENCES app.parent);"
        "CREATE TABLE app.child (id bigint PRIMARY KEY, parent bigint REFERENCES app.parent)"
    )
    parent = schema({"id": "integer", "up": "integer"}, stream="app.parent", native=described("parent", "up"))
    child = schema({"id": "integer", "parent": "integer"}, stream="app.child", native=described("child", "parent"))
    try:
        async with PostgresDestination(place.as_user("owner")).open(FLOW) as session:
            children = file(child, [upsert(id=n, parent=n % 3) for n in range(5000)])
            assert isinstance(outcome := await session.load(children, after=[]), Loaded)
            assert outcome.mark.rejected == 5000
            parents = file(parent, [upsert(id=1, up=2), upsert(id=2, up=None), upsert(id=0, up=1)])
            assert isinstance(outcome := await session.load(parents, after=[]), Loaded)
            assert outcome.rejections == ()
            assert await session.retry_rejected() == []
            await session.load(file(parent, [delete(id=0)], 1), after=[])
            (left,) = await session.retry_rejected()
            assert left.reason.startswith('1667 rows of "app"."child" refer to this row through parent')
        assert place.rows("SELECT count(*) FROM app.child") == [(5000,)]
    finally:
        place.run("REASSIGN OWNED BY owner TO postgres", "DROP OWNED BY owner", "DROP ROLE owner")


async def test_a_table_without_the_key_of_the_stream_is_an_error_that_says_what_to_do(place: Place) -> None:
    place.run("CREATE TABLE item (id bigint, v text)")
    async with PostgresDestination(place.uri).open(FLOW) as session:
        with pytest.raises(ConfigurationError, match=r'create one: CREATE UNIQUE INDEX ON "public"."item" \("id"\)'):
            await session.load(file(STREAM, [upsert(id=1, v="a")]), after=[])


def described(table: str, column: str) -> dict[str, object]:
    """Return a source's description of an existing table of the schema `app`."""
    columns = [{"name": name, "type": "bigint", "not_null": False} for name in ("id", column)]
    return {"postgresql": {"schema": "app", "table": table, "columns": columns, "row_key": None, "key": None}}


def database(place: Place) -> str:
    return str(place.rows("SELECT current_database()")[0][0])
