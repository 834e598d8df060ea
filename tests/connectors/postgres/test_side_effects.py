"""Triggers and rules of the destination change nothing while rows are loaded, and act again afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.loading.integrity.side_effects import SideEffects
from pipeline.connectors.postgres.loading.rejection.reasons import LOST
from pipeline.connectors.postgres.session.connection import connect
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place

ITEM = schema({"id": "integer", "v": "text"})
FUNCTIONS = (
    "CREATE TABLE audit (what text)",
    "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE FUNCTION change_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'changed'; RETURN NEW; END $$",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN INSERT INTO public.audit VALUES (TG_OP); RETURN NULL; END $$",
)
TRIGGERS = (
    "CREATE TRIGGER odd BEFORE INSERT ON item FOR EACH ROW WHEN (NEW.id % 2 = 1) EXECUTE FUNCTION drop_row()",
    "CREATE TRIGGER keep BEFORE DELETE ON item FOR EACH ROW EXECUTE FUNCTION drop_row()",
    "CREATE TRIGGER alter_v BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION change_row()",
    "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item EXECUTE FUNCTION note()",
    "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
)
RULES = (
    "CREATE RULE no_insert AS ON INSERT TO item DO INSTEAD NOTHING",
    "CREATE RULE no_update AS ON UPDATE TO item DO INSTEAD NOTHING",
    "CREATE RULE no_delete AS ON DELETE TO item DO ALSO INSERT INTO audit VALUES (OLD.v)",
)
STATES = (
    "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
    "SELECT rulename, ev_enabled FROM pg_rewrite WHERE rulename LIKE 'no\\_%' ORDER BY 1"
)


async def load_twice(place: Place) -> None:
    """Load four rows, then a file that changes one, deletes one and adds one."""
    async with PostgresDestination(place.uri).open(FLOW) as session:
        first = file(ITEM, [upsert(id=n, v=f"v{n}") for n in range(4)], full=True)
        assert isinstance(outcome := await session.load(first, after=[]), Loaded)
        assert outcome.rejections == ()
        second = file(ITEM, [upsert(id=1, v="new"), delete(id=2), upsert(id=5, v="v5")], movement=2)
        assert isinstance(outcome := await session.load(second, after=[first.entry.id]), Loaded)
        assert outcome.rejections == ()
        assert await session.retry_rejected() == []
        assert await session.finish([ITEM.stream]) == []


EXPECTED = [(0, "v0"), (1, "new"), (3, "v3"), (5, "v5")]


@pytest.mark.parametrize("as_owner", [True, False])
@pytest.mark.parametrize("partitioned", [True, False])
async def test_triggers_do_not_act_and_are_enabled_as_before(
    places: tuple[Place, Place], as_owner: bool, partitioned: bool
) -> None:
    place, owner = places
    by_range = " PARTITION BY RANGE (id)" if partitioned else ""
    parts = [
        "CREATE TABLE low PARTITION OF item FOR VALUES FROM (0) TO (3)",
        "CREATE TABLE high PARTITION OF item DEFAULT",
    ]
    owner.run(f"CREATE TABLE item (id bigint PRIMARY KEY, v text){by_range}", *parts[: 2 * partitioned])
    owner.run(*FUNCTIONS, *TRIGGERS)
    owner.run("ALTER TABLE item ENABLE ALWAYS TRIGGER odd, ENABLE REPLICA TRIGGER keep, DISABLE TRIGGER note")
    before = place.rows(STATES)
    await load_twice(owner if as_owner else place)
    assert place.rows("SELECT * FROM item ORDER BY id") == EXPECTED
    assert place.rows("SELECT * FROM audit") == []
    assert place.rows(STATES) == before


@pytest.mark.parametrize("as_owner", [True, False])
async def test_rules_do_not_act_and_are_enabled_as_before(places: tuple[Place, Place], as_owner: bool) -> None:
    place, owner = places
    owner.run("CREATE TABLE item (id bigint PRIMARY KEY, v text)", FUNCTIONS[0], *RULES)
    owner.run("ALTER TABLE item ENABLE ALWAYS RULE no_insert")
    before = place.rows(STATES)
    await load_twice(owner if as_owner else place)
    assert place.rows("SELECT * FROM item ORDER BY id") == EXPECTED
    assert place.rows("SELECT * FROM audit") == []
    assert place.rows(STATES) == before


async def test_a_load_that_fails_leaves_triggers_enabled(places: tuple[Place, Place]) -> None:
    place, owner = places
    owner.run("CREATE TABLE item (id bigint PRIMARY KEY, v text)", *FUNCTIONS, *TRIGGERS)
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        with pytest.raises(Exception, match="line 2"):
            await session.load(file(ITEM, [b"{\n"]), after=[])
    assert {state for _, state in place.rows(STATES)} == {"O"}


async def test_another_owners_trigger_that_drops_rows_is_named_with_the_rows(places: tuple[Place, Place]) -> None:
    place, owner = places
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, v text)", *FUNCTIONS[:2], TRIGGERS[0])
    place.run("GRANT SELECT, INSERT, UPDATE, DELETE ON item TO PUBLIC")
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        rows = [upsert(id=n, v=f"v{n}") for n in range(4)]
        assert isinstance(outcome := await session.load(file(ITEM, rows, full=True), after=[]), Loaded)
        assert [(rejection.key, rejection.reason) for rejection in outcome.rejections] == [
            (f"[{n}]", LOST.reason) for n in (1, 3)
        ]
        (violation,) = await session.finish([ITEM.stream])
        assert violation.message.startswith("the trigger odd of public.item acts while rows are loaded")
    assert place.rows("SELECT id FROM item ORDER BY id") == [(0,), (2,)]


async def test_a_trigger_that_its_owner_may_not_disable_is_named(places: tuple[Place, Place]) -> None:
    place, owner = places
    owner.run("CREATE TABLE item (id bigint PRIMARY KEY, v text)", *FUNCTIONS[:3], TRIGGERS[2])
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        place.run(
            "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF session_user <> 'postgres' THEN "
            "RAISE 'not here' USING ERRCODE = 'insufficient_privilege'; END IF; END $$",
            "CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION forbid()",
        )
        assert isinstance(await session.load(file(ITEM, [upsert(id=1, v="v1")], full=True), after=[]), Loaded)
        (violation,) = await session.finish([ITEM.stream])
        assert violation.message.startswith("the trigger alter_v of public.item acts while rows are loaded")
        assert violation.message.endswith("have the administrator disable the trigger")
        place.run("DROP EVENT TRIGGER forbid")
        assert await session.finish([ITEM.stream]) == []
    assert place.rows(STATES) == [("alter_v", "O")]


async def test_a_table_without_triggers_costs_no_request(places: tuple[Place, Place]) -> None:
    connection = connect(parse_location(places[1].uri), "test")
    connection.close()
    assert SideEffects(connection, [], as_replica=False).violations() == []


async def test_row_security_that_the_owner_has_to_obey_hides_no_row(
    make: Callable[[], Place], places: tuple[Place, Place]
) -> None:
    source, (superuser, owner) = make(), places
    source.run(
        "CREATE TABLE p (id int PRIMARY KEY, v text)",
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p)",
        "INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "INSERT INTO c VALUES (1, 1)",
        "CREATE POLICY one ON p USING (id = 1) WITH CHECK (id < 3)",
        *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" for table in "pc"),
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(owner.uri))
    await succeed(movements)
    source.run(
        "UPDATE p SET v = 'z' WHERE id = 2",
        "DELETE FROM p WHERE id = 3",
        "INSERT INTO p VALUES (5, 'n')",
        "INSERT INTO c VALUES (2, 5)",
        "ALTER TABLE p ADD y int",
    )
    await succeed(movements)
    for query in ("SELECT * FROM p ORDER BY id", "SELECT * FROM c ORDER BY id"):
        assert superuser.rows(query) == source.rows(query)
    forced = "SELECT relname::text FROM pg_class WHERE relforcerowsecurity ORDER BY 1"
    assert superuser.rows(forced) == [("c",), ("p",)]
