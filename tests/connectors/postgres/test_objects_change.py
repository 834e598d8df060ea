"""Schema objects that change between two Movements in ways that PostgreSQL allows only one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.ddl.evolution.types import not_null_changes
from pipeline.domain.inventory import Fate
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.schema_changes import Cases, Moved

T = ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
ENUM = (
    "CREATE TYPE e AS ENUM ('a', 'c')",
    "CREATE TABLE t (id int PRIMARY KEY, e e)",
    "INSERT INTO t VALUES (1, 'a'), (2, 'c')",
)
CASES: Cases = {
    "a_new_label_is_used_at_once": (
        (*ENUM, "CREATE DOMAIN d AS e DEFAULT 'a'", "CREATE TABLE u (id int PRIMARY KEY, d d)"),
        (
            "ALTER TYPE e ADD VALUE 'b' BEFORE 'c'",
            "ALTER TABLE t ALTER e SET DEFAULT 'b', ADD CHECK (e > 'b' OR e < 'b')",
            "ALTER DOMAIN d SET DEFAULT 'b'",
            "CREATE VIEW v AS SELECT id FROM t WHERE e <> 'b'",
        ),
    ),
    "labels_are_added_and_renamed_where_a_function_needs_the_type": (
        (*ENUM, "CREATE FUNCTION f(e) RETURNS e LANGUAGE sql AS 'SELECT $1'"),
        (
            "ALTER TYPE e RENAME VALUE 'c' TO 'z'",
            "ALTER TYPE e ADD VALUE 'b' BEFORE 'z'",
            "ALTER TYPE e ADD VALUE 'first' BEFORE 'a'",
            "INSERT INTO t VALUES (3, 'b'), (4, 'first')",
        ),
    ),
    "an_enum_of_a_function_is_renamed": (
        (*ENUM, "CREATE FUNCTION f(e) RETURNS e LANGUAGE sql AS 'SELECT $1'", "COMMENT ON FUNCTION f(e) IS 'same'"),
        ("ALTER TYPE e RENAME TO ee",),
    ),
    "a_check_of_a_domain_is_renamed_where_arrays_need_it": (
        (
            "CREATE DOMAIN d AS text CONSTRAINT a CHECK (VALUE <> '')",
            "CREATE TABLE t (d d[])",
            "INSERT INTO t VALUES ('{x}')",
        ),
        ("ALTER DOMAIN d RENAME CONSTRAINT a TO b",),
    ),
    "not_null_of_domains_is_renamed_added_and_dropped": (
        (
            "CREATE DOMAIN d AS text CONSTRAINT a NOT NULL",
            "CREATE DOMAIN e AS text NOT NULL",
            "CREATE DOMAIN f AS text",
            "CREATE DOMAIN g AS text CONSTRAINT c NOT NULL",
            "CREATE TABLE t (d d, e e, f f, g g)",
            "INSERT INTO t VALUES ('x', 'x', 'x', 'x')",
        ),
        (
            "ALTER DOMAIN d RENAME CONSTRAINT a TO b",
            "ALTER DOMAIN e RENAME CONSTRAINT e_not_null TO b",
            "ALTER DOMAIN f ADD CONSTRAINT b NOT NULL",
            "ALTER DOMAIN g DROP NOT NULL",
        ),
    ),
    "a_text_search_configuration_in_use_gets_other_mappings": (
        (
            "CREATE TEXT SEARCH CONFIGURATION c (COPY = pg_catalog.english)",
            "CREATE TABLE t (id int PRIMARY KEY, b text)",
            "INSERT INTO t VALUES (1, 'running')",
            "CREATE INDEX i ON t USING gin (to_tsvector('"
            "a_text_search_configuration_in_use_gets_other_mappings.c'::regconfig, b))",
        ),
        (
            "ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word",
            "ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR asciiword WITH simple",
        ),
    ),
    "a_partition_is_detached_to_which_rows_referred": (
        (
            "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
            "CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
            "CREATE TABLE z (id int PRIMARY KEY, t int, CONSTRAINT to_t FOREIGN KEY (t) REFERENCES t)",
            "INSERT INTO t VALUES (1), (11)",
            "INSERT INTO z VALUES (1, 1), (2, 11)",
        ),
        ("ALTER TABLE z DROP CONSTRAINT to_t", "ALTER TABLE t DETACH PARTITION p1"),
    ),
    "many_rows_are_attached_renamed_and_changed": (
        (
            "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
            "CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (100)",
            "CREATE TABLE p2 (id int CONSTRAINT t_id_not_null NOT NULL PRIMARY KEY)",
            "INSERT INTO p2 SELECT n FROM generate_series(100, 300) AS n",
            "CREATE TABLE a (id int PRIMARY KEY, x text)",
            "INSERT INTO a SELECT n, 'x' FROM generate_series(1, 200) AS n",
        ),
        (
            "ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (100) TO (1000)",
            "ALTER TABLE a RENAME TO b",
            "ALTER TABLE b RENAME x TO y",
        ),
    ),
    "a_sequence_is_owned_no_more": (
        (*T, "CREATE SEQUENCE s OWNED BY t.id"),
        ("ALTER SEQUENCE s OWNED BY NONE",),
    ),
    "keys_and_references_get_another_type": (
        (
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE TABLE c (id int PRIMARY KEY, t int NOT NULL, CONSTRAINT to_t FOREIGN KEY (t) REFERENCES t)",
            "INSERT INTO t VALUES (1), (20)",
            "INSERT INTO c VALUES (1, 1), (2, 20)",
        ),
        (
            "ALTER TABLE c DROP CONSTRAINT to_t",
            "ALTER TABLE t ALTER id TYPE text",
            "ALTER TABLE c ALTER t TYPE text",
            "ALTER TABLE c ADD CONSTRAINT to_t FOREIGN KEY (t) REFERENCES t",
            "INSERT INTO t VALUES ('x')",
        ),
    ),
    "a_column_is_dropped_and_another_one_has_its_name": (
        ("CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL)", "INSERT INTO t VALUES (1, 'x'), (2, '5')"),
        (
            "ALTER TABLE t DROP a",
            "ALTER TABLE t ADD a int NOT NULL CONSTRAINT small CHECK (a < 9) DEFAULT 3",
            "UPDATE t SET a = 5 WHERE id = 2",
        ),
    ),
    "values_are_converted_by_an_expression": (
        ("CREATE TABLE t (id int PRIMARY KEY, a text, b text)", "INSERT INTO t VALUES (1, 'one', '7'), (2, '33', 'x')"),
        ("ALTER TABLE t ALTER a TYPE int USING length(a), ALTER b TYPE date USING '2026-01-01'",),
    ),
    "an_unlogged_sequence": ((*T, "CREATE UNLOGGED SEQUENCE s"), ("SELECT nextval('s')",)),
    "views_become_tables": (
        (
            *T,
            "CREATE VIEW v AS SELECT id FROM t",
            "CREATE VIEW w AS SELECT id FROM v",
            "CREATE MATERIALIZED VIEW m AS SELECT id FROM w",
            "CREATE RULE r AS ON INSERT TO w DO INSTEAD NOTHING",
        ),
        (
            "DROP MATERIALIZED VIEW m",
            "DROP VIEW w",
            "DROP VIEW v",
            "CREATE TABLE v (id int PRIMARY KEY, n text)",
            "CREATE TABLE m (id int PRIMARY KEY)",
            "CREATE VIEW w AS SELECT id FROM v",
            "INSERT INTO v VALUES (7, 'x')",
            "INSERT INTO m VALUES (8)",
        ),
    ),
    "a_sequence_and_types_become_tables": (
        (
            *T,
            "CREATE SEQUENCE s",
            "CREATE TYPE c AS (a int)",
            "CREATE TYPE e AS ENUM ('a')",
            "CREATE DOMAIN d AS int",
        ),
        (
            "DROP SEQUENCE s",
            "DROP TYPE c",
            "DROP TYPE e",
            "DROP DOMAIN d",
            *(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in "sced"),
            *(f"INSERT INTO {name} VALUES (5)" for name in "sced"),
        ),
    ),
    "tables_become_other_objects": (
        (
            *T,
            "CREATE TABLE v (id int PRIMARY KEY)",
            "CREATE TABLE s (id serial PRIMARY KEY)",
            "CREATE TABLE c (id int PRIMARY KEY REFERENCES v)",
            "INSERT INTO v VALUES (7)",
            "INSERT INTO c VALUES (7)",
        ),
        (
            "DROP TABLE c, s, v",
            "CREATE VIEW v AS SELECT id FROM t",
            "CREATE SEQUENCE s START 5",
            "CREATE TYPE c AS ENUM ('x')",
        ),
    ),
    "columns_with_the_names_of_a_row_without_a_key": (
        (
            'CREATE TABLE t ("$row" text, "$dup" int, "$$row" text)',
            "INSERT INTO t VALUES ('r', 1, 'q'), ('r', 1, 'q'), ('s', 2, NULL)",
        ),
        ("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)", 'UPDATE t SET "$dup" = 3 WHERE "$row" = \'s\''),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_change_arrives_with_the_next_movement(name: str, moved: Moved) -> None:
    (source, copy), (rows, copy_rows) = moved.dumps, moved.rows
    assert source[name]
    assert copy[name] == source[name]
    assert rows[name]
    assert copy_rows[name] == rows[name]


def test_nothing_is_missing_afterwards(moved: Moved) -> None:
    assert (moved.movement.status, moved.movement.problems, moved.equal) == (Status.SUCCESS, (), True)


async def test_a_view_in_whose_place_a_table_comes_stays_where_the_destination_needs_it(
    make: Callable[[], Place],
) -> None:
    source, copy = make(), make()
    source.run(*T, "CREATE VIEW v AS SELECT id FROM t")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    copy.run("CREATE VIEW own AS SELECT id FROM v")
    source.run("DROP VIEW v", "CREATE TABLE v (id int PRIMARY KEY)", "INSERT INTO v VALUES (1)")
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert "at the destination something depends on the view of this name" in movement.problems[0]
    assert "view public.own depends on view public.v" in movement.problems[0]
    copy.run("DROP VIEW own")
    await succeed(movements)
    assert copy.rows("SELECT id FROM v") == [(1,)]


REWRITTEN = (
    "CREATE TABLE t (id int PRIMARY KEY, kind varchar(9))",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "CREATE VIEW v AS SELECT id FROM t WHERE kind IN ('a', 'c') UNION SELECT 1::bigint",
    "CREATE MATERIALIZED VIEW m AS SELECT id FROM t WHERE kind IN ('a', 'c')",
    "CREATE POLICY p ON t USING (kind IN ('a', 'c'))",
    "CREATE DOMAIN d AS varchar(9) CHECK (VALUE IN ('a', 'c'))",
)


async def test_definitions_that_postgresql_writes_in_another_way_are_equal(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*REWRITTEN)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert copy.rows("SELECT pg_get_viewdef('v'::regclass)") != source.rows("SELECT pg_get_viewdef('v'::regclass)")
    assert await equal(movements)
    before = copy.rows("SELECT 'm'::regclass::oid::text")
    source.run("INSERT INTO t VALUES (3, 'c')")
    await succeed(movements)
    assert copy.rows("SELECT 'm'::regclass::oid::text") == before
    assert await equal(movements)
    copy.run("CREATE OR REPLACE VIEW v AS SELECT id::bigint FROM t")
    assert not await equal(movements)


async def test_such_definitions_of_a_restored_schema_are_the_source_s(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*REWRITTEN)
    text = source.rows("SELECT pg_get_viewdef('v'::regclass), pg_get_viewdef('m'::regclass)")[0]
    copy.run(REWRITTEN[0], f"CREATE VIEW v AS {text[0]}", f"CREATE MATERIALIZED VIEW m AS {text[1]}")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert await equal(movements)


async def test_a_table_with_the_name_of_a_stream_of_ours_is_moved(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run('CREATE TABLE "@schema" (id int PRIMARY KEY)', 'INSERT INTO "@schema" VALUES (1)', "CREATE SEQUENCE s")
    await succeed(Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)))
    assert copy.rows('SELECT * FROM "@schema"') == [(1,)]
    assert copy.rows("SELECT to_regclass('s')::text") == [("s",)]


async def test_kinds_that_are_never_moved_are_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        *T,
        "CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler",
        "CREATE TEXT SEARCH TEMPLATE plain (lexize = dsimple_lexize)",
        "CREATE TEXT SEARCH PARSER words"
        " (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
        "CREATE TRUSTED LANGUAGE other HANDLER plpgsql_call_handler",
        "CREATE FOREIGN DATA WRAPPER files",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER files",
    )
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    found = {(item.kind, item.name): item.is_gap for item in movement.inventory.with_fate(Fate.NOT_MOVED)}
    assert found == {
        ("access method", "heap2"): True,
        ("conversion", "public.latin"): True,
        ("language", "other"): True,
        ("text search parser", "public.words"): True,
        ("text search template", "public.plain"): True,
        ("foreign data wrapper", "files"): False,
        ("foreign server", "elsewhere"): False,
    }


async def test_a_column_that_the_destination_computes_is_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", "INSERT INTO t VALUES (1, 2, 4), (2, 3, 7)")
    copy.run("CREATE TABLE t (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED)")
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert [(item.kind, item.name) for item in movement.inventory.gaps(())] == [("column", "t.b")]


async def test_an_index_whose_function_fails_is_named_alone(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    check = "IF current_setting('app.works', true) IS NULL THEN RAISE 'no setting'; END IF; RETURN x;"
    source.run(
        *T,
        f"CREATE FUNCTION f(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {check} END $$",
        "SET app.works = 'yes'",
        "CREATE INDEX i ON t (f(id))",
        "CREATE INDEX j ON t ((id + 1))",
    )
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    assert movement.problems == ("t: the index i cannot be created: no setting",)
    assert copy.rows("SELECT to_regclass('j')::text") == [("j",)]


async def test_a_table_whose_key_is_nan_is_left_out_alone(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*T, "CREATE TABLE f (f float8 PRIMARY KEY)", "INSERT INTO f VALUES (1), ('NaN')")
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert [(item.kind, item.name) for item in movement.inventory.gaps(())] == [("table", "f")]
    assert "a key is NaN" in movement.problems[0]
    assert copy.rows("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize(
    ("release", "changes"), [(160000, ["SET NOT NULL"]), (170000, ['ADD CONSTRAINT "must" NOT NULL'])]
)
def test_a_name_of_not_null_is_for_releases_that_have_such_names(release: int, changes: list[str]) -> None:
    there = {"not_null": True, "not_null_name": "must"}
    assert [*not_null_changes({"not_null": False}, there, "d", release)] == changes
