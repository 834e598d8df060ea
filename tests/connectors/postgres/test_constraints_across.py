"""Indexes, unique constraints, NOT NULL and foreign keys between SQLite and PostgreSQL, and the names of unsupported ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import psycopg
import pytest
from structlog.testing import capture_logs

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.movement import Movement, Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases

Told = dict[str, list[str]]
LONG = "long_" + "é" * 28
"""61 bytes: short enough for a table, too long with the suffix of a constraint."""

SHOP = (
    "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT, UNIQUE (name, country))",
    'CREATE TABLE "Al bum" (code TEXT, part INT, artist INT NOT NULL REFERENCES ARTIST ON DELETE CASCADE ON UPDATE '
    "SET NULL, up TEXT, upPart INT, title TEXT, PRIMARY KEY (code, part), "
    'FOREIGN KEY (up, uppart) REFERENCES "al bum" (CODE, "Part")) WITHOUT ROWID',
    "CREATE TABLE nickname (name TEXT PRIMARY KEY, artist TEXT, country TEXT, "
    "FOREIGN KEY (artist, country) REFERENCES artist (name, country) ON DELETE SET DEFAULT)",
    "CREATE TABLE call (nickname VARCHAR(20) REFERENCES nickname)",
    f'CREATE TABLE {LONG} (id INTEGER PRIMARY KEY, "a ""b" TEXT UNIQUE)',
    'CREATE INDEX "Al bum; ""by"" title" ON "Al bum" (title DESC, part)',
    'CREATE UNIQUE INDEX once ON "Al bum" (artist, title)',
    "CREATE INDEX nickname_key ON nickname (country)",
)
ROWS = (
    "INSERT INTO artist VALUES (1, 'é', 'fr'), (2, 'é', NULL), (3, 'é', NULL)",
    "INSERT INTO \"Al bum\" VALUES ('a', 1, 1, NULL, NULL, 'x'), ('b', 1, 1, 'a', 1, 'y'), ('B', 1, 2, 'b', 1, NULL)",
    "INSERT INTO nickname VALUES ('n', 'é', 'fr'), (NULL, 'é', NULL)",
    "INSERT INTO call VALUES ('n'), (NULL), ('n')",
    f"INSERT INTO {LONG} VALUES (1, 'x'), (2, NULL)",
)
INDEXES = (
    "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid "
    "WHERE c.relnamespace = 'public'::regnamespace AND NOT i.indisprimary ORDER BY 1, i.indexrelid::regclass::text COLLATE \"C\""
)
CONSTRAINTS = (
    "SELECT (SELECT relname FROM pg_class WHERE oid = conrelid) AS name, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'u') ORDER BY 1, pg_get_constraintdef(oid) COLLATE \"C\""
)


async def move(movements: Movements) -> tuple[Movement, Told]:
    """Move once; return the Movement and the unsupported constraints that were logged, by stream."""
    with capture_logs() as logs:
        movement = await movements.move()
    return movement, {log["stream"]: log["unsupported"] for log in logs if log["event"] == "constraints_unsupported"}


async def move_well(movements: Movements) -> Told:
    """Move once; triggers and their functions alone may be missing. Return the unsupported constraints that were logged."""
    movement, logged = await move(movements)
    missing = movement.inventory.gaps(())
    assert {item.kind for item in missing} <= {"function", "trigger", "generated column"}
    assert movement.status is (Status.INCOMPLETE if missing else Status.SUCCESS)
    assert all(problem.startswith("not moved: ") for problem in movement.problems)
    return logged


async def test_constraints_of_sqlite_are_created_in_postgresql(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, *SHOP, *ROWS)
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    assert await move_well(movements) == {}
    made = place.rows(INDEXES), place.rows(CONSTRAINTS)
    assert made[0] == [
        ("Al bum", 'CREATE INDEX "Al bum; ""by"" title" ON public."Al bum" USING btree (title DESC, part)'),
        ("Al bum", 'CREATE UNIQUE INDEX once ON public."Al bum" USING btree (artist, title)'),
        ("artist", "CREATE UNIQUE INDEX artist_name_country_key ON public.artist USING btree (name, country)"),
        (LONG, f'CREATE UNIQUE INDEX "long_{"é" * 24}_71d1c336" ON public."{LONG}" USING btree ("a ""b")'),
        ("nickname", "CREATE INDEX nickname_key ON public.nickname USING btree (country)"),
        ("nickname", "CREATE UNIQUE INDEX nickname_name_key ON public.nickname USING btree (name)"),
    ]
    assert made[1] == [
        ("Al bum", "FOREIGN KEY (artist) REFERENCES artist(id) ON UPDATE SET NULL ON DELETE CASCADE"),
        ("Al bum", 'FOREIGN KEY (up, "upPart") REFERENCES "Al bum"(code, part)'),
        ("artist", "UNIQUE (name, country)"),
        ("call", "FOREIGN KEY (nickname) REFERENCES nickname(name)"),
        (LONG, 'UNIQUE ("a ""b")'),
        ("nickname", "FOREIGN KEY (artist, country) REFERENCES artist(name, country) ON DELETE SET DEFAULT"),
        ("nickname", "UNIQUE (name)"),
    ]
    with pytest.raises(psycopg.errors.NotNullViolation):
        place.run("INSERT INTO \"Al bum\" (code, part) VALUES ('z', 1)")
    databases.run(source, "UPDATE artist SET country = 'it' WHERE id = 2", "INSERT INTO call VALUES ('n')")
    assert await move_well(movements) == {}
    assert (place.rows(INDEXES), place.rows(CONSTRAINTS)) == made
    movement = await movements.move()
    assert (movement.status, movement.totals.files_exported) == (Status.SUCCESS, 0)


async def test_constraints_that_sqlite_rows_break_are_reported_until_they_hold(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INT REFERENCES parent, other INT REFERENCES gone (id))",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1, NULL), (2, 5, NULL), (3, 6, NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    movement, logged = await move(movements)
    assert (movement.status, logged) == (
        Status.INCOMPLETE,
        {"child": ["foreign key other to gone (there is no table gone at the source either)"]},
    )
    assert movement.problems == (
        'child: 2 rows refer through parent to missing rows of "public"."parent" (5, 6); it is so at the source, too',
    )
    assert place.rows("SELECT count(*) FROM child") == [(3,)]
    databases.run(source, "CREATE TABLE gone (id INTEGER PRIMARY KEY)", "INSERT INTO gone VALUES (1)")
    databases.run(source, "INSERT INTO parent VALUES (5), (6)")
    assert await move_well(movements) == {}
    assert [row[1] for row in place.rows(CONSTRAINTS)] == [
        "FOREIGN KEY (other) REFERENCES gone(id)", "FOREIGN KEY (parent) REFERENCES parent(id)",
    ]  # fmt: skip


async def test_rows_that_prevent_a_unique_index_are_a_violation_and_those_that_prevent_a_plain_one_are_not(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, note TEXT)",
        "CREATE INDEX by_note ON item (note)",
        "INSERT INTO item VALUES (1, 'a', hex(randomblob(9000)))",
    )
    place.run(
        "CREATE TABLE item (id bigint PRIMARY KEY, code text, note text)", "INSERT INTO item VALUES (8, 'i'), (9, 'i')"
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    movement, logged = await move(movements)
    assert movement.status is Status.INCOMPLETE
    assert movement.problems == (
        "item: the constraint item_code_key cannot be created: could not create unique index "
        '"item_code_key"; Key (code)=(i) is duplicated.',
    )
    assert logged == {"item": ["index by_note (index row requires 18016 bytes, maximum size is 8191)"]}
    place.run("DELETE FROM item WHERE id = 9")
    databases.run(source, "UPDATE item SET note = 'short'")
    assert await move_well(movements) == {}
    assert [row[1] for row in place.rows(INDEXES)] == [
        "CREATE INDEX by_note ON public.item USING btree (note)",
        "CREATE UNIQUE INDEX item_code_key ON public.item USING btree (code)",
    ]


async def test_without_ownership_of_a_table_its_plain_indexes_are_left_out(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, note TEXT)",
        "CREATE INDEX by_note ON item (note)",
        "INSERT INTO item VALUES (1, 'a', 'n')",
    )
    ((database,),) = place.rows("SELECT current_database()")
    place.run(
        "CREATE TABLE item (id bigint PRIMARY KEY, code text, note text)",
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN",
        f"GRANT CREATE ON DATABASE {database} TO guest",
        "GRANT CREATE ON SCHEMA public TO guest",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON item TO guest",
    )
    try:
        movements = Movements(SqliteSource(source), PostgresDestination(place.uri.replace("postgres:@", "guest:@", 1)))
        movement, logged = await move(movements)
        assert movement.problems == (
            "item: the constraint item_code_key cannot be created: must be owner of table item",
        )
        assert logged == {"item": ["index by_note (must be owner of table item)"]}
        place.run("ALTER TABLE item ADD UNIQUE (code)")
        databases.run(source, "UPDATE item SET note = 'm'")
        assert await move_well(movements) == logged
    finally:
        place.run("DROP OWNED BY guest CASCADE", "DROP ROLE guest")


async def test_constraints_unsupported_by_postgresql_are_named_until_a_user_creates_them(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, note, low INT CONSTRAINT small "
        "CHECK (low < 9), twice INT AS (low * 2), ref TEXT REFERENCES item, CHECK (low > 'CHECK (' + 0))",
        "CREATE INDEX item_low ON item (low) WHERE low > 0",
        "CREATE INDEX item_sum ON item (low + 1)",
        "CREATE INDEX item_twice ON item (twice)",
        "CREATE INDEX item_note ON item (note)",
        "CREATE TRIGGER item_changed AFTER UPDATE ON item BEGIN SELECT 'CHECK (x)'; END",
        "INSERT INTO item (id, name, low) VALUES (1, 'a', 5)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    own = "it is written in SQLite's own language"
    logged = await move_well(movements)
    assert logged == {
        "item": [
            "index item_low (it covers a part of the rows)",
            "index item_sum (it is on an expression)",
            "index item_twice (it is on a generated column)",
            "unique constraint (name) (its collation is NOCASE)",
            f"check small ({own})",
            f"check (low > 'CHECK (' + 0) ({own})",
            f"generated column twice ({own})",
            "collation name (it is NOCASE, and text is compared by its bytes)",
            f"trigger item_changed ({own})",
            'index item_note (data type json has no default operator class for access method "btree")',
            'foreign key ref to item (foreign key constraint "item_ref_fkey" cannot be implemented; '
            'Key columns "ref" of the referencing table and "id" of the referenced table are of incompatible types: '
            "text and bigint.)",
        ]
    }
    place.run(
        "CREATE INDEX item_low ON item (low) WHERE low > 0",
        "CREATE INDEX item_sum ON item ((low + 1))",
        "ALTER TABLE item ADD CHECK (low < 9), ADD twice bigint GENERATED ALWAYS AS (low * 2) STORED",
        "CREATE INDEX item_twice ON item (twice)",
        "CREATE INDEX item_note ON item ((note::text))",
        "CREATE EXTENSION citext",
        "ALTER TABLE item ALTER name TYPE citext",
    )
    databases.run(source, "INSERT INTO item (id, name, low) VALUES (2, 'b', 5)")
    logged = await move_well(movements)
    assert [what.partition(" (")[0] for what in logged["item"]] == [
        "unique constraint", "trigger item_changed", "foreign key ref to item",
    ]  # fmt: skip


async def test_existing_tables_of_postgresql_keep_their_constraints(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, code TEXT REFERENCES parent (code) ON DELETE CASCADE, n INT, m INT)",
        "CREATE INDEX by_n ON child (n)",
        "CREATE INDEX by_m ON child (m)",
        "CREATE INDEX taken ON child (m, n)",
        "INSERT INTO parent VALUES (1, 'a')",
        "INSERT INTO child VALUES (1, 'a', 1, 1)",
    )
    place.run(
        "CREATE TABLE taken ()",
        "CREATE TABLE parent (id bigint PRIMARY KEY, code text)",
        "CREATE UNIQUE INDEX its_own ON parent (code)",
        "CREATE TABLE child (id bigint PRIMARY KEY, code text CONSTRAINT kept REFERENCES parent (code), n int, m int, x int)",
        "CREATE INDEX another_name ON child (n)",
        "CREATE INDEX by_m ON child (m, x)",
        "INSERT INTO parent VALUES (9, 'i')",
        "INSERT INTO child VALUES (9, 'i', 9, 9, 9)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    assert await move_well(movements) == {}
    assert [row[1] for row in place.rows(INDEXES)] == [
        "CREATE INDEX another_name ON public.child USING btree (n)",
        "CREATE INDEX by_m ON public.child USING btree (m, x)",
        "CREATE INDEX taken_2 ON public.child USING btree (m, n)",
        "CREATE UNIQUE INDEX its_own ON public.parent USING btree (code)",
    ]
    assert place.rows(CONSTRAINTS) == [("child", "FOREIGN KEY (code) REFERENCES parent(code)")]
    databases.run(source, "UPDATE child SET n = 2")
    assert await move_well(movements) == {}
    assert len(place.rows(INDEXES)) == 4


PG_SHOP = (
    "CREATE SCHEMA app",
    'CREATE TABLE parent (id int PRIMARY KEY, "Co de" text NOT NULL, n numeric, UNIQUE ("Co de", n))',
    "CREATE TABLE app.child (id int PRIMARY KEY, parent int, code text, n numeric, up int REFERENCES app.child, note text, "
    "CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parent ON DELETE CASCADE ON UPDATE RESTRICT, "
    'CONSTRAINT "to ""code" FOREIGN KEY (code, n) REFERENCES parent ("Co de", n) DEFERRABLE INITIALLY DEFERRED)',
    "CREATE INDEX by_note ON app.child (note DESC, n) INCLUDE (code)",
    "CREATE INDEX by_note ON parent (n)",
    "CREATE TABLE loose (a int, b int)",
    "CREATE UNIQUE INDEX loose_a ON loose (a)",
    "INSERT INTO parent VALUES (1, 'a', 1.5), (2, 'b', NULL), (3, 'b', NULL)",
    "INSERT INTO app.child VALUES (1, 1, 'a', 1.5, NULL, 'x'), (2, NULL, 'no', NULL, 1, NULL)",
    "INSERT INTO loose VALUES (1, 1), (NULL, 2), (NULL, 2)",
)
LITE_INDEXES = (
    "SELECT tbl_name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL "
    r"AND tbl_name NOT LIKE '\_pipeline%' ESCAPE '\' ORDER BY name"
)


async def test_constraints_of_postgresql_are_created_in_sqlite(make: Callable[[], Place], tmp_path: Path) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(*PG_SHOP)
    movements = Movements(PostgresSource(source.uri), SqliteDestination(copy))
    assert await move_well(movements) == {}
    made = databases.schema_of(copy)
    assert databases.rows(copy, LITE_INDEXES) == [
        ("app.child", 'CREATE INDEX "app.by_note" ON "app.child" ("note" DESC, "n")'),
        ("parent", 'CREATE INDEX "by_note" ON "parent" ("n")'),
        ("loose", 'CREATE UNIQUE INDEX "loose_a" ON "loose" ("a")'),
        ("parent", 'CREATE UNIQUE INDEX "parent_Co de_n_key" ON "parent" ("Co de", "n")'),
    ]
    keys = 'SELECT "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(\'app.child\') ORDER BY id, seq'
    assert sorted(databases.rows(copy, keys)) == [
        ("app.child", "up", "id", "NO ACTION", "NO ACTION"),
        ("parent", "code", "Co de", "NO ACTION", "NO ACTION"),
        ("parent", "n", "n", "NO ACTION", "NO ACTION"),
        ("parent", "parent", "id", "RESTRICT", "CASCADE"),
    ]
    with pytest.raises(apsw.ConstraintError, match="NOT NULL"):
        databases.run(copy, "INSERT INTO parent (id) VALUES (7)")
    with pytest.raises(apsw.ConstraintError, match="FOREIGN KEY"):
        databases.run(copy, "PRAGMA foreign_keys = ON", 'INSERT INTO "app.child" (id, parent) VALUES (7, 7)')
    databases.run(
        copy,
        "PRAGMA foreign_keys = ON",
        "BEGIN",
        "INSERT INTO \"app.child\" (id, code, n) VALUES (8, 'late', '1')",
        "INSERT INTO parent VALUES (8, 'late', '1')",
        'DELETE FROM "app.child" WHERE id = 8',
        "DELETE FROM parent WHERE id = 8",
        "COMMIT",
    )
    source.run(
        "UPDATE parent SET n = 2 WHERE id = 3", "UPDATE app.child SET note = 'y'", "INSERT INTO loose VALUES (5)"
    )
    assert await move_well(movements) == {}
    assert databases.schema_of(copy) == made


async def test_constraints_unsupported_by_sqlite_are_named_until_a_user_creates_them(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE COLLATION loud (provider = builtin, locale = 'C')",
        "CREATE TABLE item (id int PRIMARY KEY, a int CHECK (a > 0), t text, g int GENERATED ALWAYS AS (a + 1) STORED, "
        "EXCLUDE USING gist (int4range(a, a + 1) WITH &&), UNIQUE NULLS NOT DISTINCT (a, t))",
        "CREATE INDEX item_hash ON item USING hash (t)",
        "CREATE INDEX item_part ON item (a) WHERE a > 5",
        "CREATE INDEX item_lower ON item (lower(t))",
        "CREATE INDEX item_like ON item (t text_pattern_ops)",
        'CREATE INDEX item_c ON item (t COLLATE "C")',
        "CREATE INDEX item_loud ON item (t COLLATE loud)",
        "CREATE INDEX item_g ON item (g)",
        "CREATE TRIGGER item_changed AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION nothing()",
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF parted (CONSTRAINT only_here FOREIGN KEY (id) REFERENCES item) FOR VALUES FROM (0) TO (9)",
        "CREATE TABLE to_part (id int PRIMARY KEY, part int, CONSTRAINT to_one FOREIGN KEY (part) REFERENCES part)",
        "CREATE TABLE to_key (id int PRIMARY KEY, a int, t text, CONSTRAINT to_item FOREIGN KEY (a, t) REFERENCES item (a, t))",
        "CREATE INDEX part_only ON part (id, (id + 1))",
        "INSERT INTO item VALUES (1, 1, 'a')",
        "INSERT INTO parted VALUES (1)",
        "INSERT INTO to_part VALUES (1, 1)",
        "INSERT INTO to_key VALUES (1, 1, 'a')",
    )
    movements = Movements(PostgresSource(source.uri), SqliteDestination(copy))
    logged = await move_well(movements)
    own = "it is written in PostgreSQL's own language"
    assert logged == {
        "item": [
            "unique constraint item_a_t_key (it treats NULLs as equal)",
            "index item_g (it is on a generated column)",
            "index item_hash (it is a hash index)",
            "index item_like (it has a non-default operator class)",
            "index item_loud (its collation is loud)",
            "index item_lower (it is on an expression)",
            "index item_part (it covers a part of the rows)",
            f"check item_a_check ({own})",
            f"exclusion constraint item_int4range_excl ({own})",
            f"generated column g ({own})",
            f"trigger item_changed ({own})",
        ],
        "parted": ["index part_only (it is on a partition)", "foreign key only_here (it is on a partition)"],
        "to_key": ["foreign key to_item (the index on the columns that it refers to is unsupported)"],
        "to_part": ["foreign key to_one (it refers to the partition part)"],
    }
    assert databases.rows(copy, LITE_INDEXES) == [("item", 'CREATE INDEX "item_c" ON "item" ("t")')]
    databases.run(
        copy,
        "CREATE INDEX item_lower ON item (lower(t))",
        "CREATE INDEX ITEM_PART ON item (a) WHERE a > 5",
        "CREATE TRIGGER item_changed AFTER UPDATE ON item BEGIN SELECT 1; END",
    )
    source.run("DELETE FROM to_key", "UPDATE item SET t = 'b'")
    left = [what.split(" (")[0] for what in (await move_well(movements))["item"]]
    assert not {"index item_lower", "index item_part", "trigger item_changed"} & set(left)
    assert len(left) == 8


async def test_existing_tables_of_sqlite_keep_their_constraints(make: Callable[[], Place], tmp_path: Path) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT up REFERENCES parent, other int REFERENCES parent, n int)",
        "CREATE INDEX by_n ON child (n)",
        "CREATE INDEX by_parent ON child (parent)",
        "CREATE INDEX taken ON child (other)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1, 1, 1)",
    )
    tables = (
        "CREATE TABLE Taken (x)",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, Parent INT REFERENCES Parent, other INT, N INT)",
        "CREATE INDEX its_own ON child (N)",
    )
    databases.run(copy, *tables, "INSERT INTO child VALUES (9, NULL, NULL, 9)")
    movements = Movements(PostgresSource(source.uri), SqliteDestination(copy))
    movement, logged = await move(movements)
    assert movement.status is Status.INCOMPLETE
    assert [problem for problem in movement.problems if not problem.startswith("not moved: ")] == [
        "child: the index taken cannot be made: its name is in use by another table of the destination. Rename or drop that"
    ]
    assert logged == {"child": ["foreign key child_other_fkey (SQLite cannot add one to an existing table)"]}
    assert {row[3] for row in databases.schema_of(copy)} - {None} == {
        *tables, 'CREATE INDEX "by_parent" ON "child" ("parent")',
    }  # fmt: skip


async def test_rows_that_break_an_unenforced_foreign_key_are_counted_in_sqlite(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
        "SET session_replication_role = replica; INSERT INTO child VALUES (1, 5), (2, 6)",
    )
    movement, _ = await move(Movements(PostgresSource(source.uri), SqliteDestination(copy)))
    assert movement.status is Status.INCOMPLETE
    assert movement.problems == ("child: 2 rows refer through parent to missing rows of parent (rowid 1, 2)",)


async def test_a_later_foreign_key_is_created_in_sqlite(make: Callable[[], Place], tmp_path: Path) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int)",
        "CREATE INDEX before ON child (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1)",
    )
    movements = Movements(PostgresSource(source.uri), SqliteDestination(copy))
    assert await move_well(movements) == {}
    source.run(
        "ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent",
        "DROP INDEX before",
        "CREATE UNIQUE INDEX after ON child (parent)",
    )
    assert await move_well(movements) == {}
    assert databases.rows(copy, LITE_INDEXES) == [("child", 'CREATE UNIQUE INDEX "after" ON "child" ("parent")')]
    assert databases.rows(copy, "SELECT \"table\" FROM pragma_foreign_key_list('child')") == [("parent",)]
    assert databases.rows(copy, "SELECT * FROM child") == [(1, 1)]


def listed(movement: Movement) -> list[str]:
    """Return the constraints that the inventory of a Movement which is SUCCESS lists as missing."""
    assert movement.status is Status.SUCCESS
    return [item.name for item in movement.inventory.items if item.kind == "table constraint"]


async def test_constraints_without_a_counterpart_stay_in_the_inventory_until_they_are_made(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place, copy = tmp_path / "app.db", make(), tmp_path / "copy.db"
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, low INT CONSTRAINT small CHECK (low < 9))",
        "CREATE INDEX item_low ON item (low) WHERE low > 0",
        "INSERT INTO item VALUES (1, 5)",
    )
    there = Movements(SqliteSource(source), PostgresDestination(place.uri))
    missing = ["item: check small", "item: index item_low"]
    assert [listed(await there.move()) for _ in range(2)] == [missing, missing]
    place.run("ALTER TABLE item ADD CHECK (low < 9)")
    assert listed(await there.move()) == ["item: index item_low"]
    place.run("CREATE INDEX item_low ON item (low) WHERE low > 0")
    back = Movements(PostgresSource(place.uri), SqliteDestination(copy))
    assert listed(await there.move()) == []
    missing = ["item: check item_low_check", "item: index item_low"]
    assert [listed(await back.move()) for _ in range(2)] == [missing, missing]
    databases.run(copy, "CREATE INDEX item_low ON item (low) WHERE low > 0")
    assert listed(await back.move()) == ["item: check item_low_check"]
