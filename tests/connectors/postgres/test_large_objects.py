"""Large objects of PostgreSQL: each arrives under its oid, follows its source, and is compared by its content."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.comparison.report import Against
from pipeline.domain.ids import BinaryId, StreamName
from pipeline.domain.movement import Movement, Status
from pipeline.engine.verify.verifier import VerifyRequest
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import UpsertSink
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.engine.real_flow import Places, RealFlow

CONTENTS = "SELECT oid::int, lo_get(oid) FROM pg_largeobject_metadata ORDER BY oid"
MEBIBYTE = 1024 * 1024


def between(source: Place, copy: Place) -> RealFlow:
    readable = PostgresSource(source.uri), PostgresDestination(copy.uri), PostgresSource(source.uri)
    return RealFlow(Places(*readable, PostgresSource(copy.uri)))


def fill(place: Place, oid: int, text: str) -> None:
    place.run(f"SELECT lo_from_bytea({oid}, '{text}')")


async def read_and_drop(open_body: OpenBody) -> BinaryId:
    """Read a content as a store does, and keep none of it."""
    async with open_body() as pieces:
        async for _ in pieces:
            pass
    return BinaryId("")


def counts(movement: Movement) -> tuple[Status, int, int]:
    assert movement.problems == ()
    return movement.status, movement.totals.upserts, movement.totals.deletes


async def test_a_copy_has_the_large_objects_of_its_source_and_their_later_changes(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, doc oid)", "INSERT INTO t VALUES (1, 70001), (2, 70002)")
    fill(source, 70001, "hello")
    fill(source, 70002, "")
    source.run(
        "SELECT lo_from_bytea(5, convert_to(repeat('0123456789abcdef', 65536), 'UTF8'))",  # as long as a piece
        "SELECT lo_from_bytea(70003, 'a'), lo_put(70003, 3000000, 'z')",  # a hole between the two
        "COMMENT ON LARGE OBJECT 70001 IS 'greeting'",
    )
    flow = between(source, copy)
    assert counts(await flow.move()) == (Status.SUCCESS, 7, 0)  # two rows, four objects, one comment
    assert copy.rows(CONTENTS) == source.rows(CONTENTS)
    assert copy.rows("SELECT lo_get(doc) FROM t WHERE id = 1") == [(b"hello",)]
    assert copy.rows("SELECT obj_description(70001, 'pg_largeobject')") == [("greeting",)]
    assert (await flow.move()).totals.files_exported == 0

    source.run(
        "SELECT lo_unlink(70002)",
        "SELECT lo_put(70003, 1, 'bc')",
        "SELECT lo_truncate(lo_open(70001, 131072), 2)",
        "SELECT lo_from_bytea(70004, 'new')",
    )
    assert counts(await flow.move()) == (Status.SUCCESS, 3, 1)
    assert copy.rows(CONTENTS) == source.rows(CONTENTS)
    assert copy.rows("SELECT obj_description(70001, 'pg_largeobject')") == [("greeting",)]
    assert (await flow.verify()).equal
    assert (await flow.verify(VerifyRequest(("@large_objects",), Against.STORED))).equal

    source.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid > 5")
    await flow.move()
    assert copy.rows(CONTENTS) == source.rows(CONTENTS)


async def test_a_large_object_of_the_destination_s_own_is_neither_changed_nor_removed(
    make: Callable[[], Place],
) -> None:
    source, copy = make(), make()
    for oid in (70001, 70002):
        fill(source, oid, "of the source")
    fill(copy, 70001, "of another app")
    fill(copy, 70002, "of the source")  # as after a restore of a backup
    flow = between(source, copy)
    movement = await flow.move()
    assert movement.status is Status.INCOMPLETE
    (problem,) = movement.problems
    assert "key [70001] was rejected: the destination has another large object 70001" in problem
    assert copy.rows(CONTENTS) == [(70001, b"of another app"), (70002, b"of the source")]
    assert (await flow.move()).status is Status.INCOMPLETE

    copy.run("SELECT lo_unlink(70001)")
    assert await flow.repaired() == (1, 0)
    assert copy.rows(CONTENTS) == source.rows(CONTENTS)


async def test_a_foreign_large_object_stays_when_the_source_removes_its_own(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    for oid in (70001, 70002):
        fill(source, oid, "of the source")
    fill(copy, 70001, "of another app")
    flow = between(source, copy)
    await flow.move()
    source.run("SELECT lo_unlink(70001)")
    assert counts(await flow.move()) == (Status.SUCCESS, 0, 1)
    assert copy.rows(CONTENTS) == [(70001, b"of another app"), (70002, b"of the source")]


async def test_verify_finds_large_objects_that_differ_and_repairs_them(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    for oid in (70001, 70002, 70003):
        fill(source, oid, f"content {oid}")
    flow = between(source, copy)
    await flow.move()
    copy.run("SELECT lo_put(70001, 0, 'C')", "SELECT lo_unlink(70002)")
    (report,) = (await flow.verify()).differing
    assert (report.stream, report.missing, report.different) == ("@large_objects", 1, 1)
    assert await flow.repaired() == (2, 0)
    assert copy.rows(CONTENTS) == source.rows(CONTENTS)
    copy.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    (report,) = (await flow.verify()).differing
    assert report.absent


async def test_a_large_object_that_may_not_be_read_is_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    fill(source, 70001, "secret")
    fill(source, 70002, "open")
    reader = f"reader_{source.uri.rpartition('test_')[2][:12]}"
    source.run(f"CREATE ROLE {reader} LOGIN", f"GRANT SELECT ON LARGE OBJECT 70002 TO {reader}")
    try:
        movement = await Movements(PostgresSource(source.as_user(reader)), PostgresDestination(copy.uri)).move()
    finally:
        source.run(f"DROP OWNED BY {reader}", f"DROP ROLE {reader}")
    assert movement.status is Status.INCOMPLETE
    (problem,) = movement.problems
    assert problem.startswith(
        "not moved: 1 large object (1, the first one with oid 70001): the privilege SELECT on it is"
    )
    assert copy.rows(CONTENTS) == [(70002, b"open")]


async def test_sqlite_has_no_large_objects_and_names_them_until_that_is_accepted(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source = make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, doc oid)", "INSERT INTO t VALUES (1, 70001)")
    fill(source, 70001, "hello")
    source.run("CREATE VIEW v AS SELECT 1 AS one")
    copy = tmp_path / "copy.db"
    readable = PostgresSource(source.uri), SqliteDestination(copy), PostgresSource(source.uri)
    flow = RealFlow(Places(*readable, SqliteSource(copy)))
    movement = await flow.move()
    assert movement.status is Status.INCOMPLETE
    assert movement.problems[0] == (
        "not moved: 1 large object (70001): SQLite has no large objects; accept this with --accept-missing 'large object'"
    )
    assert [report.stream for report in (await flow.verify()).streams] == ["t"]


@pytest.mark.slow
async def test_a_large_content_does_not_lie_in_memory(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("SELECT lo_from_bytea(70001, 'a')")
    for start in range(0, 64 * MEBIBYTE, 8 * MEBIBYTE):
        source.run(f"SELECT lo_put(70001, {start}, convert_to(repeat('{start:016}', {MEBIBYTE // 2}), 'UTF8'))")
    snapshot = PostgresSource(source.uri).open_snapshot()
    tracemalloc.start()
    try:
        async with snapshot as opened:
            (schema,) = [it for it in await opened.streams() if it.stream == StreamName("@large_objects")]
            async with opened.open_rows(schema) as blocks:
                async for block in blocks:
                    await block.upserts([0], UpsertSink(read_and_drop))
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
    await between(source, copy).move()
    digest = "SELECT sha256(lo_get(70001)), length(lo_get(70001))"
    assert copy.rows(digest) == source.rows(digest)
