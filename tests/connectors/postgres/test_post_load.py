"""After the load: what rows do not allow is a violation and is tried again; sequences continue after the source's."""

from __future__ import annotations

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Status
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

STREAMS = [StreamName("child"), StreamName("parent")]


def native(table: str, column: str, **more: object) -> dict[str, object]:
    """Return a source's description of a table of two numbers with a key."""
    columns = [{"name": name, "type": "bigint", "not_null": name == "id"} for name in ("id", column)]
    key = {"name": f"{table}_pkey", "kind": "primary", "definition": "PRIMARY KEY (id)"}
    constraints = [key, *more.pop("constraints", [])]  # type: ignore[misc]  # a list, as given below
    return {
        "postgresql": {
            "schema": "public",
            "table": table,
            "columns": columns,
            "row_key": None,
            "constraints": constraints,
            "key": {"name": key["name"], "columns": ["id"], "kind": "primary"},
            **more,
        }
    }


PARENT = schema({"id": "integer", "n": "integer"}, stream="parent", native=native("parent", "n"))
REFERENCE = {
    "name": "child_parent",
    "definition": "FOREIGN KEY (parent) REFERENCES public.parent(id)",
    "references": ["public", "parent"],
}
CHILD = schema(
    {"id": "integer", "parent": "integer"},
    stream="child",
    native=native(
        "child",
        "parent",
        foreign_keys=[REFERENCE],
        constraints=[{"name": "child_once", "kind": "unique", "definition": "UNIQUE (parent)"}],
        indexes=[
            {
                "name": "child_some",
                "definition": "CREATE INDEX child_some ON public.child USING btree (parent)",
                "unique": False,
            },
            {"name": "child_odd", "definition": "CREATE INDEX child_odd ON public.child USING btree (nothing(parent))"},
        ],
    ),
)


async def test_what_the_rows_do_not_allow_is_reported_and_created_once_they_do(place: Place) -> None:
    async with PostgresDestination(place.uri).open(FLOW) as session:
        children = [upsert(id=n, parent=n % 4) for n in range(1, 9)]
        await session.load(file(CHILD, children, full=True), after=[])
        found = sorted(violation.message for violation in await session.finish(STREAMS))
        assert found[0].startswith("the constraint child_once cannot be created: could not create unique index")
        assert found[1:] == [
            "the foreign key child_parent cannot be created: there is no table public.parent here",
            "the index child_odd cannot be created: function nothing(bigint) does not exist",
        ]
        assert place.rows("SELECT count(*) FROM child") == [(8,)]
        assert place.rows("SELECT count(*) FROM pg_indexes WHERE indexname = 'child_some'") == [(1,)]
        await session.load(file(PARENT, [upsert(id=n, n=0) for n in range(3)], full=True), after=[])
        messages = [violation.message for violation in await session.finish([StreamName("parent")])]
        assert messages == ['2 rows refer through parent to missing rows of "public"."parent" (3, 3)']
        await session.load(file(PARENT, [upsert(id=3, n=0)], 1), after=[])
        await session.load(file(CHILD, [delete(id=n) for n in range(5, 9)], 1), after=[])
        messages = [violation.message for violation in await session.finish(STREAMS)]
        assert len(messages) == 1
        assert "child_odd" in messages[0]
        assert place.rows("SELECT conname FROM pg_constraint WHERE conrelid = 'child'::regclass AND contype <> 'n' ORDER BY 1") == [
            ("child_once",), ("child_parent",), ("child_pkey",),
        ]  # fmt: skip


async def test_unenforced_foreign_keys_are_checked(place: Place) -> None:
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(PARENT, [upsert(id=n, n=0) for n in range(9)], full=True), after=[])
        await session.load(file(CHILD, [upsert(id=n, parent=n) for n in range(9)], full=True), after=[])
        await session.finish(STREAMS)
        await session.load(file(PARENT, [delete(id=n) for n in range(5)], 1), after=[])
        (violation,) = await session.finish([StreamName("parent")])
        assert violation.stream == "child"
        assert violation.message == '5 rows refer through parent to missing rows of "public"."parent" (0, 1, 2 …)'
    assert place.rows("SELECT count(*) FROM child") == [(9,)]


async def test_a_table_without_a_key_has_as_many_equal_rows_as_the_source(postgresql: PostgresqlServer) -> None:
    make = place_factory(postgresql)
    source, destination = make(), make()
    source.run(
        "CREATE TABLE loose (a int, b text)", "INSERT INTO loose SELECT n % 3, 'x' FROM generate_series(1, 900) AS n"
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))
    assert (await movements.move()).status is Status.SUCCESS
    changes = (
        "DELETE FROM loose WHERE ctid IN (SELECT ctid FROM loose WHERE a = 1 LIMIT 100)",
        "INSERT INTO loose VALUES (2, 'x'), (7, NULL)",
    )
    source.run(*changes)
    destination.run(*changes)  # as if the file had been applied and its mark lost
    assert (await movements.move()).status is Status.SUCCESS
    count = "SELECT a, b, count(*) FROM loose GROUP BY 1, 2 ORDER BY 1, 2"
    assert destination.rows(count) == source.rows(count) == [(0, "x", 300), (1, "x", 200), (2, "x", 301), (7, None, 1)]


async def test_a_default_that_cannot_be_set_is_reported_until_it_can(place: Place) -> None:
    described = native("numbered", "n")["postgresql"]
    assert isinstance(described, dict)
    described["columns"][1]["default"] = "public.next_number()"
    numbered = schema({"id": "integer", "n": "integer"}, stream="numbered", native={"postgresql": described})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(numbered, [upsert(id=1, n=1)], full=True), after=[])
        for _ in range(2):
            (violation,) = await session.finish([StreamName("numbered")])
            assert violation.message == (
                "the default of n cannot be created: function public.next_number() does not exist"
            )
        place.run("CREATE FUNCTION next_number() RETURNS bigint LANGUAGE sql AS 'SELECT 7::bigint'")
        assert await session.finish([StreamName("numbered")]) == []
    place.run("INSERT INTO numbered (id) VALUES (2)")
    assert place.rows("SELECT n FROM numbered ORDER BY id") == [(1,), (7,)]
