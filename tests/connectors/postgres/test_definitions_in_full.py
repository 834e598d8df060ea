"""What PostgreSQL's rarer statements declare arrives in full, as `pg_dump --schema-only` sees it, and follows its source.

All cases are moved together, each in a schema of its own.
"""

from __future__ import annotations

import pytest

from pipeline.domain.movement import Status
from tests.connectors.postgres.schema_changes import Cases, Moved

TRIGGER = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := 99; RETURN NEW; END'"
CASES: Cases = {
    "typed_table": (
        (
            "CREATE TYPE pair AS (a int, b text)",
            "CREATE TABLE t OF pair (PRIMARY KEY (a), b WITH OPTIONS DEFAULT 'q' NOT NULL)",
            "INSERT INTO t VALUES (1, 'x')",
        ),
        ("ALTER TYPE pair ADD ATTRIBUTE c date CASCADE", "INSERT INTO t VALUES (2, 'y', '2026-01-01')"),
    ),
    "typed_table_becomes_a_plain_one": (
        ("CREATE TYPE pair AS (a int)", "CREATE TABLE t OF pair (PRIMARY KEY (a))", "INSERT INTO t VALUES (1)"),
        ("ALTER TABLE t NOT OF", "ALTER TABLE t ADD b int", "INSERT INTO t VALUES (2, 3)"),
    ),
    "statistics_of_an_index": (
        (
            "CREATE TABLE t (id int PRIMARY KEY, b text)",
            "CREATE INDEX i ON t (lower(b), (b || 'x'))",
            "ALTER INDEX i ALTER COLUMN 1 SET STATISTICS 500",
        ),
        ("ALTER INDEX i ALTER COLUMN 1 SET STATISTICS -1", "ALTER INDEX i ALTER COLUMN 2 SET STATISTICS 77"),
    ),
    "options_of_a_materialized_view": (
        (
            "CREATE TABLE t (id int PRIMARY KEY, b text)",
            "CREATE MATERIALIZED VIEW m WITH (fillfactor = 50) AS SELECT b FROM t",
            "CREATE INDEX i ON m (b)",
            "CLUSTER m USING i",
            "ALTER MATERIALIZED VIEW m ALTER b SET STATISTICS 55",
        ),
        ("ALTER MATERIALIZED VIEW m ALTER b SET STATISTICS 5", "ALTER MATERIALIZED VIEW m SET WITHOUT CLUSTER"),
    ),
    "trigger_disabled_on_one_partition": (
        (
            "CREATE TABLE t (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)",
            "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
            "INSERT INTO t VALUES (1, 1), (11, 2)",
            TRIGGER,
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "ALTER TABLE t1 DISABLE TRIGGER g",
        ),
        ("ALTER TABLE t1 ENABLE REPLICA TRIGGER g", "ALTER TABLE t2 DISABLE TRIGGER g", "INSERT INTO t VALUES (12, 3)"),
    ),
    "aggregate_with_all_its_options": (
        (
            "CREATE FUNCTION s(a int[], x int) RETURNS int[] LANGUAGE sql IMMUTABLE AS 'SELECT a || x'",
            "CREATE FUNCTION f(a int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT cardinality(a)'",
            "CREATE AGGREGATE n (int) (sfunc = s, stype = int[], sspace = 9, finalfunc = f, finalfunc_modify = read_write,"
            " initcond = '{}', msfunc = s, minvfunc = s, mstype = int[], msspace = 8, mfinalfunc = f,"
            " mfinalfunc_modify = shareable, minitcond = '{}')",
        ),
        ("CREATE OR REPLACE AGGREGATE n (int) (sfunc = s, stype = int[], finalfunc = f)",),
    ),
    "ordered_set_aggregates": (
        (
            "CREATE AGGREGATE p (float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal,"
            " finalfunc = percentile_disc_final, finalfunc_extra)",
            'CREATE AGGREGATE r (VARIADIC "any" ORDER BY VARIADIC "any") (sfunc = ordered_set_transition_multi,'
            " stype = internal, finalfunc = rank_final, finalfunc_extra, hypothetical)",
        ),
        ("DROP AGGREGATE p (float8 ORDER BY anyelement)",),
    ),
    "unlogged_sequence": (("CREATE UNLOGGED SEQUENCE s",), ("ALTER SEQUENCE s SET LOGGED",)),
    "domain_with_a_check_that_old_values_contradict": (
        (
            "CREATE DOMAIN d AS int CONSTRAINT there NOT NULL",
            "CREATE TABLE t (id int PRIMARY KEY, x d)",
            "INSERT INTO t VALUES (1, -5)",
            "ALTER DOMAIN d ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID",
            "COMMENT ON CONSTRAINT positive ON DOMAIN d IS 'since 2026'",
        ),
        ("UPDATE t SET x = 4", "ALTER DOMAIN d VALIDATE CONSTRAINT positive"),
    ),
    "dictionary_in_use": (
        (
            "CREATE TEXT SEARCH DICTIONARY d (template = simple, stopwords = 'english')",
            "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
            "ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR asciiword WITH d",
            "CREATE TABLE t (id int PRIMARY KEY, b text)",
            "CREATE INDEX i ON t USING gin (to_tsvector('dictionary_in_use.c', b))",
        ),
        ("ALTER TEXT SEARCH DICTIONARY d (stopwords, accept = 'false')",),
    ),
    "dictionary_without_options": (
        (
            "CREATE TEXT SEARCH DICTIONARY d (template = simple)",
            "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
            "ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR asciiword WITH d",
        ),
        ("ALTER TEXT SEARCH DICTIONARY d (stopwords = 'english')",),
    ),
    "dictionaries_that_lose_and_get_options": (
        (
            "CREATE TEXT SEARCH DICTIONARY d (template = simple, stopwords = 'english')",
            """CREATE TEXT SEARCH DICTIONARY "d ('" (template = simple, accept = 0)""",
            "CREATE TEXT SEARCH DICTIONARY f (template = simple)",
            "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
            """ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR asciiword WITH d, "d ('", f""",
        ),
        (
            "ALTER TEXT SEARCH DICTIONARY d (stopwords)",
            """ALTER TEXT SEARCH DICTIONARY "d ('" (accept, stopwords = 'english')""",
            "ALTER TEXT SEARCH DICTIONARY f (accept = 1)",
        ),
    ),
    "extension_in_another_schema": (
        (
            "CREATE EXTENSION citext SCHEMA extension_in_another_schema",
            "CREATE SCHEMA later",
            "CREATE TABLE t (a citext PRIMARY KEY, b int)",
            "INSERT INTO t VALUES ('Ab', 1)",
        ),
        ("ALTER EXTENSION citext SET SCHEMA later", "UPDATE t SET b = 2"),
    ),
}


def test_the_second_movement_succeeds_and_verify_agrees(moved: Moved) -> None:
    assert (moved.movement.status, moved.movement.problems, moved.equal) == (Status.SUCCESS, (), True)


@pytest.mark.parametrize("name", CASES)
def test_the_destination_has_the_definitions_and_rows_of_the_source(moved: Moved, name: str) -> None:
    for after in (moved.first_dumps, moved.dumps):
        assert after[1].get(name) == after[0].get(name)
    assert moved.rows[1].get(name) == moved.rows[0].get(name)
