"""After a Movement two PostgreSQL databases are equal: every type, every kind of table."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import HeldDeletes, Status
from tests.connectors.postgres.moving import Movements, equal
from tests.connectors.postgres.places import Place

TYPES = (
    'CREATE SCHEMA "My shop"',
    "CREATE TYPE \"My shop\".mood AS ENUM ('sad', 'o''k', 'Glad')",
    "CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100)",
    'CREATE TYPE pair AS (a int, "B c" text)',
    'CREATE TABLE "My shop"."Every ""type""" (id int PRIMARY KEY, small smallint, big bigint, single real, double '
    "float8, exact numeric,"
    " price numeric(12,2), cash money, yes boolean, words text, code varchar(10), padded char(5), raw bytea, day "
    "date, at timestamp,"
    " zoned timestamptz, clock time, zclock timetz, span interval, key uuid, net inet, range cidr, mac macaddr, bits "
    "bit(4), vbits varbit,"
    ' doc json, docb jsonb, page xml, vec tsvector, mood "My shop".mood, share percent, pair pair, numbers int[], '
    "texts text[][],"
    ' r int4range, mr int4multirange, p point, moods "My shop".mood[], pairs pair[])',
    'INSERT INTO "My shop"."Every ""type""" VALUES (1, -32768, 9223372036854775807, 3.4e38, 1.7976931348623157e308,'
    " 123456789012345678901234567890.123456789012345678901234567890, 9999999999.99, 1234.56, true, "
    "E'tab\\tline\\nquote\"back\\\\slash\\u00e9\\U0001F600\\x01',"
    " 'ab', 'x', '\\x00ff10', '2024-02-29', '2024-01-02 03:04:05.123456', '2024-01-02 03:04:05.123456+05:30', "
    "'23:59:59.999999', '12:00:00.5+14',"
    " '1 year -2 mons +3 days -04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1/8', '10.0.0.0/8', "
    "'08:00:2b:01:02:03', '1010', '110',"
    " '{\"a\" : \"\\u0000\", \"b\":[1, 2.50, {}]}', '{\"a\": [1, 2.50, null]}', NULL, 'fat:2 cat:3A', 'o''k', 99.99, "
    "ROW(1, 'x,\"y'),"
    " '{1,NULL,3}', '{{a,\"b,c\"},{\"\",\"NULL\"}}', '[1,5)', '{[1,3),[5,7)}', '(1.5,-2)', ARRAY['sad','Glad']::\"My "
    'shop".mood[], ARRAY[ROW(1,NULL)::pair])',
    'INSERT INTO "My shop"."Every ""type""" (id, single, double, exact, day, at, zoned, words, docb, span) VALUES'
    " (2, 'NaN', 'NaN', 'NaN', 'infinity', 'infinity', 'infinity', '', 'null', '0'),"
    " (3, 'Infinity', 'Infinity', 'Infinity', '-infinity', '-infinity', '-infinity', 'null', '\"\"', NULL),"
    " (4, '-Infinity', '-Infinity', '-Infinity', '4713-01-01 BC', '294276-12-31 23:59:59.999999', '4714-11-24 "
    "00:00:00+00 BC', '\\N', '{}', NULL),"
    " (5, '-0', '-0', '-0.000', NULL, NULL, NULL, '\\.', '[]', NULL), (6, 1e-45, 5e-324, 1.10, NULL, NULL, NULL, "
    "'NULL', NULL, NULL)",
)
TABLES = (
    "CREATE TABLE artist (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 5) PRIMARY KEY, name text "
    "NOT NULL UNIQUE)",
    "CREATE TABLE album (id serial PRIMARY KEY, artist bigint NOT NULL REFERENCES artist ON DELETE CASCADE, title "
    'text COLLATE "C",'
    " price numeric(6,2) DEFAULT 9.99 CHECK (price >= 0), shout text GENERATED ALWAYS AS (upper(title)) STORED)",
    "CREATE INDEX album_title ON album (lower(title)) WHERE price > 1",
    "CREATE UNIQUE INDEX ON album (title, artist)",
    "INSERT INTO artist (name) VALUES ('A'), ('B'), ('C')",
    "INSERT INTO album (artist, title) SELECT 5 + 5 * (n % 3), 'title ' || n FROM generate_series(1, 50) AS n",
    "CREATE TABLE measured (at date NOT NULL, id int, v float8, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)",
    "CREATE TABLE measured_2024 PARTITION OF measured FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY "
    "HASH (id)",
    "CREATE TABLE measured_2024_0 PARTITION OF measured_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE measured_2024_1 PARTITION OF measured_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "CREATE TABLE measured_rest PARTITION OF measured DEFAULT",
    "INSERT INTO measured SELECT '2024-12-25'::date + n, n, n / 3.0 FROM generate_series(1, 20) AS n",
    "CREATE TABLE being (id int PRIMARY KEY, name text)",
    "CREATE TABLE animal (legs int, PRIMARY KEY (id)) INHERITS (being)",
    "INSERT INTO being VALUES (1, 'ghost')",
    "INSERT INTO animal VALUES (1, 'cat', 4)",
    "CREATE TABLE loose (a int, b text)",
    "INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL), (2, 'y')",
    "CREATE VIEW seen AS SELECT * FROM album",
)
NAMED = (
    "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind "
    "IN ('r', 'p') "
    "AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema', '_pipeline') ORDER BY 1, 2"
)
SHAPES = (
    "SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, "
    "a.attgenerated, "
    "pg_get_expr(d.adbin, d.adrelid) FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
    "LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', '_pipeline') ORDER BY 1, "
    "a.attnum",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint "
    "WHERE conrelid <> 0 AND connamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', "
    "'_pipeline') ORDER BY 1, 2",
    "SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes WHERE schemaname NOT IN ('pg_catalog', "
    "'_pipeline') ORDER BY 1, 2, 3",
    "SELECT schemaname, sequencename, start_value, increment_by, last_value FROM pg_sequences WHERE schemaname <> "
    "'_pipeline' ORDER BY 1, 2",
    "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits ORDER BY 1, 2",
)
EXACT = "SELECT set_config('extra_float_digits', '3', false), set_config('TimeZone', 'UTC', false)"


def dump(place: Place) -> dict[str, list[str]]:
    """Return all rows of all tables, each as the text of the whole row, sorted."""
    found = {}
    for schema, table in place.rows(NAMED):
        quoted = ".".join('"' + str(part).replace('"', '""') + '"' for part in (schema, table))
        found[quoted] = sorted(str(row[0]) for row in place.rows(f"SELECT t::text FROM ONLY {quoted} AS t"))
        if not found[quoted]:
            found[quoted] = sorted(str(row[0]) for row in place.rows(f"SELECT t::text FROM {quoted} AS t"))
    return found


def shape(place: Place) -> list[list[tuple[object, ...]]]:
    """Return columns, constraints, indexes, sequences and inheritance as the catalog has them."""
    return [place.rows(query) for query in SHAPES]


def flow(source: Place, destination: Place) -> Movements:
    return Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))


async def test_every_type_arrives_as_it_was(make: Callable[[], Place]) -> None:
    source, destination = make(), make()
    source.run(*TYPES)
    movement = await flow(source, destination).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(destination) == dump(source)
    assert shape(destination) == shape(source)


async def test_every_kind_of_table_arrives_and_stays_equal(make: Callable[[], Place]) -> None:
    source, destination = make(), make()
    source.run(*TABLES)
    movements = flow(source, destination)
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(destination) == dump(source)
    assert shape(destination) == shape(source)
    source.run(
        "UPDATE album SET title = title || '!' WHERE id % 7 = 0",
        "DELETE FROM artist WHERE name = 'B'",
        "INSERT INTO artist (name) VALUES ('D')",
        "DELETE FROM loose WHERE ctid IN (SELECT ctid FROM loose WHERE a = 1 LIMIT 1)",
        "INSERT INTO loose VALUES (NULL, NULL), (3, 'z')",
        "DELETE FROM loose WHERE a = 2",
        "UPDATE measured SET at = at + 400 WHERE id = 3",
        "UPDATE ONLY being SET name = 'spirit'",
        "ALTER TABLE album ADD COLUMN stars int NOT NULL DEFAULT 3",
        "UPDATE album SET stars = 5 WHERE id = 1",
    )
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(destination) == dump(source)
    assert shape(destination) == shape(source)
    assert (await movements.move()).totals.files_exported == 0


async def test_the_app_s_own_partition_is_not_detached_but_named(make: Callable[[], Place]) -> None:
    here, there = make(), make()
    tables = (
        "CREATE TABLE z (id int, at int, PRIMARY KEY (id, at)) PARTITION BY LIST (at)",
        "CREATE TABLE a PARTITION OF z FOR VALUES IN (1)",
        "CREATE TABLE b PARTITION OF z FOR VALUES IN (2)",
    )
    here.run(*tables, "INSERT INTO z SELECT n, n % 2 + 1 FROM generate_series(1, 40) AS n")
    there.run(*tables)
    movements = Movements(PostgresSource(here.uri), PostgresDestination(there.uri))
    assert (await movements.move()).status is Status.SUCCESS
    here.run("ALTER TABLE z DETACH PARTITION a")
    named = await movements.move()
    assert named.status is Status.INCOMPLETE
    assert 'ALTER TABLE "public"."z" DETACH PARTITION "public"."a"' in " ".join(named.problems)
    there.run("ALTER TABLE z DETACH PARTITION a")
    assert (await movements.move()).status is Status.SUCCESS
    assert await equal(movements)
    assert (there.rows("SELECT count(*) FROM a"), there.rows("SELECT count(*) FROM z")) == ([(20,)], [(20,)])


async def test_many_updates_of_a_table_without_a_key_are_no_mass_delete(make: Callable[[], Place]) -> None:
    here, there = make(), make()
    here.run("CREATE TABLE t (a int, b text)", "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 300) AS n")
    movements = Movements(PostgresSource(here.uri), PostgresDestination(there.uri))
    assert (await movements.move()).status is Status.SUCCESS
    here.run("UPDATE t SET b = 'y'", "DELETE FROM t WHERE a > 290")
    assert (await movements.move()).status is Status.SUCCESS
    assert there.rows("SELECT count(*), min(b) FROM t") == [(290, "y")]
    here.run("UPDATE t SET b = 'z'", "DELETE FROM t WHERE a > 100")
    assert (await movements.move()).held_deletes == {"t": HeldDeletes(190, 290)}


async def test_many_streams_that_share_a_type_start_concurrently(make: Callable[[], Place]) -> None:
    source, destination = make(), make()
    source.run("CREATE SCHEMA shop", "CREATE TYPE shop.mood AS ENUM ('sad', 'glad')", "CREATE SEQUENCE shop.numbers")
    tables = [f"shop.table_{number}" for number in range(12)]
    for table in tables:
        source.run(f"CREATE TABLE {table} (id int PRIMARY KEY DEFAULT nextval('shop.numbers'), mood shop.mood)")
        source.run(f"INSERT INTO {table} (mood) SELECT 'glad' FROM generate_series(1, 30)")
    movements = flow(source, destination)
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    source.run(
        "ALTER TYPE shop.mood ADD VALUE 'so-so' BEFORE 'glad'",
        *(f"UPDATE {table} SET mood = 'so-so'" for table in tables),
    )
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(destination) == dump(source)
    assert destination.rows("SELECT enum_range(NULL::shop.mood)::text") == [("{sad,so-so,glad}",)]
