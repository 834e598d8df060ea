"""Rejected records are found among all others, which are accepted; a blocked record may be accepted later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.loading.copy_in import Staging
from pipeline.domain.ids import Phase
from pipeline.domain.movement import Status
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, as_arrays, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.contracts.destination import file_to_load
from tests.servers.postgresql import PostgresqlServer

COLUMNS = {"id": "integer", "code": "text", "n": "integer"}
STRICT = "CREATE TABLE item (id bigint PRIMARY KEY, code varchar(8) NOT NULL UNIQUE, n int CHECK (n < 1000))"


@pytest.fixture
def place(postgresql: PostgresqlServer) -> Place:
    made = place_factory(postgresql)()
    made.run(STRICT)
    return made


@pytest.mark.parametrize("arrays", [True, False])
@pytest.mark.parametrize("full", [True, False])
async def test_records_at_fault_are_found_among_thousands(place: Place, full: bool, arrays: bool) -> None:
    bad: dict[int, dict[str, object]] = {
        7: {"code": "much too long"},
        1200: {"n": 1001},
        1201: {"n": "x"},
        1999: {"code": None},
        2999: {"code": "c0"},
    }
    rows: list[dict[str, object]] = [{"id": n, "code": f"c{n}", "n": n % 1000} for n in range(3000)]
    for n, changed in bad.items():
        rows[n].update(changed)
    lines = [upsert(**row) for row in rows]
    stored = as_arrays(schema(COLUMNS), lines) if arrays else lines
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), stored, full=full), after=[])
        assert isinstance(outcome, Loaded)
        assert (outcome.mark.upserts, outcome.mark.rejected) == (2995, 5)
        assert {kept.record + b"\n" for kept in await session.rejected()} == {lines[n] for n in bad}
        found = {rejection.line: rejection for rejection in outcome.rejections}
        assert sorted(found) == [n + 2 for n in sorted(bad)]
        assert found[9].reason == "value too long for type character varying(8)"
        assert found[1202].reason.startswith('new row for relation "item" violates check constraint "item_n_check"')
        assert (found[1203].column, found[1203].key) == ("n", "[1201]")
        assert found[2001].column == "code"
        assert found[3001].reason.endswith("Key (code)=(c0) already exists.")
    assert place.rows("SELECT count(*), sum(id) FROM item") == [(2995, sum(range(3000)) - sum(bad))]


async def test_only_the_block_with_the_record_at_fault_is_loaded_in_parts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    copy_directly = Staging.copy_directly

    def noting(staging: Staging, columns: Sequence[str], data: Sequence[bytes], count: int) -> None:
        copied.append(count)
        copy_directly(staging, columns, data, count)

    monkeypatch.setattr(Staging, "copy_directly", noting)
    stream = schema(COLUMNS)
    lines = as_arrays(stream, [upsert(id=n, code=f"c{n}", n=1001 if n == 25 else n) for n in range(40)])
    blocks = [b"".join(lines[start : start + 10]) for start in range(0, 40, 10)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file_to_load(stream, blocks, phase=Phase.FULL), after=[])
    assert isinstance(outcome, Loaded)
    assert [rejection.line for rejection in outcome.rejections] == [27]
    assert copied == [10, 30, 10, 10, 10], "the first block alone, the others together, and then each of them"
    assert place.rows("SELECT count(*), sum(id) FROM item") == [(39, sum(range(40)) - 25)]


async def test_rows_of_one_file_may_swap_a_unique_value(place: Place) -> None:
    stream = schema(COLUMNS)
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(stream, [upsert(id=1, code="a", n=1), upsert(id=2, code="b", n=2)]), after=[])
        swapped = file(stream, [upsert(id=1, code="b", n=1), upsert(id=2, code="a", n=2)], 1)
        outcome = await session.load(swapped, after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.rejections == ()
    assert place.rows("SELECT id, code FROM item ORDER BY id") == [(1, "b"), (2, "a")]


async def test_a_blocked_record_is_accepted_once_the_row_is_gone(place: Place) -> None:
    stream = schema(COLUMNS)
    async with PostgresDestination(place.uri).open(FLOW) as session:
        first = file(stream, [upsert(id=1, code="a", n=1), upsert(id=2, code="a", n=2), upsert(id=3, code="c", n=1)])
        assert isinstance(outcome := await session.load(first, after=[]), Loaded)
        assert [rejection.key for rejection in outcome.rejections] == ["[2]"]
        await session.load(file(stream, [delete(id=1)], 1), after=[first.entry.id])
        assert await session.retry_rejected() == []
        mark = (await session.marks())[first.entry.id]
        assert (mark.upserts, mark.rejected) == (3, 0)
    assert place.rows("SELECT id, code FROM item ORDER BY id") == [(2, "a"), (3, "c")]


@pytest.mark.parametrize("full", [True, False])
async def test_the_last_valid_record_of_a_key_wins(place: Place, full: bool) -> None:
    lines = [upsert(id=1, code=f"v{n}", n=n) for n in range(998, 1003)] + [upsert(id=2, code="x", n=1), delete(id=2)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert isinstance(outcome := await session.load(file(schema(COLUMNS), lines, full=full), after=[]), Loaded)
        assert (outcome.mark.upserts, outcome.mark.deletes, outcome.mark.rejected) == (3, 1, 1)
        assert outcome.rejections[0].line == 6
    assert place.rows("SELECT id, code FROM item") == [(1, "v999")]


async def test_the_last_of_equal_keys_wins_in_a_first_snapshot(place: Place) -> None:
    """The rows are copied straight into the table, whose key does not allow the second one."""
    lines = [upsert(id=n % 7, code=f"v{n}", n=n) for n in range(20)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert isinstance(outcome := await session.load(file(schema(COLUMNS), lines, full=True), after=[]), Loaded)
        assert (outcome.mark.upserts, outcome.mark.rejected) == (20, 0)
    assert place.rows("SELECT id, n FROM item ORDER BY id") == [(n % 7, n) for n in (14, 15, 16, 17, 18, 19, 13)]


async def test_lines_that_are_not_records_are_rejected(place: Place) -> None:
    lines = [b'{"update":{"id":1}}\n', b"[1]\n", upsert(code="a", n=1), delete(id=None), upsert(id=5, code="e", n=5)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert isinstance(outcome := await session.load(file(schema(COLUMNS), lines), after=[]), Loaded)
        assert [rejection.reason for rejection in outcome.rejections] == [
            "neither an upsert nor a delete",
            "neither an upsert nor a delete",
            "the key column id is missing",
            "the key column id is NULL",
        ]
        assert [rejection.line for rejection in outcome.rejections] == [2, 3, 4, 5]
    assert place.rows("SELECT id FROM item") == [(5,)]


async def test_a_record_changes_the_columns_that_it_has(place: Place) -> None:
    place.run("INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2)")
    lines = [upsert(id=1, n=10), upsert(id=2, code="B"), upsert(id=3, code="c", n=3)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), lines, full=True), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.rejections == ()
    assert place.rows("SELECT * FROM item ORDER BY id") == [(1, "a", 10), (2, "B", 2), (3, "c", 3)]


async def test_columns_that_the_destination_computes_are_skipped_and_counted(place: Place) -> None:
    place.run("ALTER TABLE item ADD COLUMN twice int GENERATED ALWAYS AS (n * 2) STORED")
    stream = schema({**COLUMNS, "twice": "integer", "more": "text"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(stream, [upsert(id=1, code="a", n=4, twice=0, more="new")]), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.skipped_columns == ("twice",)
    assert place.rows("SELECT * FROM item") == [(1, "a", 4, 8, "new")]


async def test_only_the_last_rejected_record_of_a_key_is_stored(place: Place) -> None:
    blocks = [
        [upsert(id=1, code="a", n={"$odd": 1}), upsert(id=2, code="b", n=2), upsert(id=3, code="c", n=3)],
        [upsert(id=1, code="A", n=1), upsert(id=2, code="B", n=[2]), upsert(id=4, code="d", n=5000)],
        [upsert(id=3, code="C", n=30), upsert(id=4, code="D", n=4), upsert(id=5, code="A", n=5)],
        [upsert(id=6, code=f"{n}", n=n) for n in range(50)],
    ]
    one = file_to_load(schema(COLUMNS), [b"".join(block) for block in blocks])
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert isinstance(outcome := await session.load(one, after=[]), Loaded)
        assert [(rejection.line, rejection.key) for rejection in outcome.rejections] == [(6, "[2]"), (10, "[5]")]
        assert [rejection.column for rejection in outcome.rejections] == ["n", None]
    assert place.rows("SELECT id, code, n FROM item ORDER BY id") == [
        (1, "A", 1), (2, "b", 2), (3, "C", 30), (4, "D", 4), (6, "49", 49),
    ]  # fmt: skip


async def test_a_key_that_the_encoding_lacks_is_rejected_alone_and_can_be_deleted(
    postgresql: PostgresqlServer,
) -> None:
    latin = "ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'"
    source, place = place_factory(postgresql)(), place_factory(postgresql, latin)()
    source.run(
        "CREATE TABLE t (k text PRIMARY KEY, v text CHECK (v <> 'ж'))",
        "INSERT INTO t VALUES ('a', 'ъ'), ('ю', '3'), ('é', '4')",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert [problem.partition(" was rejected")[0] for problem in movement.problems[:2]] == [
        'Event File 1/t/full/0, line 2, key ["a"]', 'Event File 1/t/full/0, line 4, key ["ю"]',
    ]  # fmt: skip
    assert place.rows("SELECT k, v FROM t") == [("é", "4")]
    source.run("DELETE FROM t WHERE k = 'ю'", "UPDATE t SET v = 'b' WHERE k = 'a'")
    await movements.move()
    assert place.rows("SELECT k, v FROM t ORDER BY k") == [("a", "b"), ("é", "4")]
    assert place.rows("SELECT count(*) FROM _pipeline.rejected") == [(0,)]
