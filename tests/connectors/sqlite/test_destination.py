"""What a load into an SQLite database does with what is there, and with what cannot go in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

from pipeline.connectors.sqlite import SqliteDestination
from pipeline.connectors.sqlite.loading.ensure_table import ensure_own_names, ensure_table
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import FileToLoad, Loaded, Mark
from tests.connectors.sqlite.databases import copy, export, load, retry, rows, run
from tests.contracts.destination import FLOW, file_to_load

ITEM = StreamSchema(
    StreamName("item"),
    Label("item"),
    (Column("id", "integer", nullable=False), Column("name", "text"), Column("size", "any")),
    ("id",),
)


def item(number: object, name: object, size: object = None) -> bytes:
    """An upsert line."""
    return orjson.dumps({"upsert": {"id": number, "name": name, "size": size}}) + b"\n"


def delete(number: object) -> bytes:
    """A delete line."""
    return orjson.dumps({"delete": {"id": number}}) + b"\n"


def items(*lines: bytes, chunk: int = 0) -> FileToLoad:
    """An Event File of items."""
    return file_to_load(ITEM, [b"".join(lines)], chunk=chunk)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "destination.db"


def held(path: Path) -> list[tuple[object, ...]]:
    return rows(path, "SELECT * FROM item ORDER BY id")


async def test_two_rows_may_swap_a_unique_value(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size)",
        "INSERT INTO item VALUES (1,'a',0),(2,'b',0)",
    )
    loaded = await load(path, items(item(1, "b"), item(2, "a")))
    assert loaded.rejections == ()
    assert held(path) == [(1, "b", None), (2, "a", None)]


async def test_a_swap_across_the_whole_file_is_applied_and_the_failing_record_rejected(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size CHECK (size IS NOT 13))",
        "INSERT INTO item VALUES (?, ?, 0)",
        values=[(number, f"name {number}") for number in range(1000)],
    )
    lines = [
        item(0, "name 999"),
        *[item(n, f"name {n}", 1) for n in range(1, 999)],
        item(999, "name 0"),
        item(5, "z", 13),
    ]
    loaded = await load(path, items(*lines))
    assert [(rejection.line, rejection.key) for rejection in loaded.rejections] == [(1002, "[5]")]
    assert loaded.mark == Mark(upserts=1000, deletes=0, rejected=1, movement=1)
    assert rows(path, "SELECT name FROM item WHERE id IN (0, 999) ORDER BY id") == [("name 999",), ("name 0",)]


@pytest.mark.parametrize(
    ("rule", "line", "reason", "column"),
    [
        ("name TEXT NOT NULL, size", item(1, None), "NOT NULL constraint failed: item.name", "name"),
        ("name TEXT UNIQUE, size", item(1, "taken"), "UNIQUE constraint failed: item.name", "name"),
        ("name TEXT, size CHECK (size > 0)", item(1, "x", -1), "CHECK constraint failed: size > 0", None),
        ("name TEXT, size", item("text", "x"), "datatype mismatch", None),
        ("name TEXT, size", item(1 << 63, "x"), "column id: an integer of more than 64 bits", "id"),
        ("name TEXT, size", item(None, "x"), "the key column id is NULL", None),
        ("name TEXT, size", b'{"upsert":{"name":"x"}}\n', "the key column id is missing", None),
        (
            "name TEXT, size",
            b'{"upsert":{"id":1,"name":[1]}}\n',
            "column name: not a value of this format: [1]",
            "name",
        ),
        ("name TEXT, size", b'{"replace":{"id":1}}\n', "neither an upsert nor a delete", None),
        ("name TEXT, size", b'{"upsert":{"id":1},"delete":{"id":1}}\n', "neither an upsert nor a delete", None),
        ("name TEXT, size", b'"upsert"\n', "neither an upsert nor a delete", None),
        ("name TEXT, size", b'{"delete":{}}\n', "the key column id is missing", None),
    ],
)
async def test_a_record_that_does_not_fit_is_rejected_with_the_reason(
    path: Path, rule: str, line: bytes, reason: str, column: str | None
) -> None:
    run(path, f"CREATE TABLE item (id INTEGER PRIMARY KEY, {rule})", "INSERT INTO item VALUES (7, 'taken', 1)")
    loaded = await load(path, items(item(8, "fine", 2), line, item(9, "fine too", 3)))
    (rejection,) = loaded.rejections
    assert (rejection.line, rejection.reason, rejection.column) == (3, reason, column)
    assert [row[0] for row in held(path)] == [7, 8, 9]
    (kept,) = rows(path, "SELECT record FROM _pipeline_rejected")
    assert orjson.loads(str(kept[0], "utf-8") if isinstance(kept[0], bytes) else "") == orjson.loads(line)


async def test_a_strict_table_rejects_a_wrong_type(path: Path) -> None:
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, size INTEGER) STRICT")
    loaded = await load(path, items(item(1, "x", "much"), item(2, "y", 2)))
    assert [(r.reason, r.column) for r in loaded.rejections] == [
        ("cannot store TEXT value in INTEGER column item.size", "size")
    ]
    assert held(path) == [(2, "y", 2)]


@pytest.mark.parametrize("clause", ["REPLACE", "IGNORE", "ROLLBACK", "FAIL"])
async def test_conflict_clauses_of_the_table_lose_no_row(path: Path, clause: str) -> None:
    run(
        path,
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT {clause}, size)",
        "INSERT INTO item VALUES (1, 'a', 1)",
    )
    loaded = await load(path, items(item(2, "a"), item(3, "c")))
    assert [rejection.line for rejection in loaded.rejections] == [2]
    assert held(path) == [(1, "a", 1), (3, "c", None)]


async def test_a_rejected_record_is_applied_when_the_reason_is_gone(path: Path) -> None:
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size)", "INSERT INTO item VALUES (1,'a',0)")
    file = items(item(2, "a"), item(3, "c"))
    await load(path, file)
    assert len(await retry(path)) == 1
    run(path, "DELETE FROM item WHERE id = 1")
    assert await retry(path) == []
    assert held(path) == [(2, "a", None), (3, "c", None)]
    async with SqliteDestination(path).open(FLOW) as session:
        assert await session.marks() == {file.entry.id: Mark(upserts=2, deletes=0, rejected=0, movement=1)}


@pytest.mark.parametrize("last", [item(400, "fine"), delete(400)])
async def test_a_later_record_of_the_same_file_replaces_a_rejected_one(path: Path, last: bytes) -> None:
    run(
        path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size)", "INSERT INTO item VALUES (-1,'a',0)"
    )
    lines = [item(400, "a"), *[item(n, f"name {n}") for n in range(1000) if n != 400], last]
    loaded = await load(path, items(*lines))
    assert loaded.rejections == ()
    run(path, "DELETE FROM item WHERE id = -1")
    assert await retry(path) == []
    assert rows(path, "SELECT name FROM item WHERE id = 400") == ([("fine",)] if b"upsert" in last else [])


async def test_a_delete_does_not_delete_a_row_whose_key_only_a_collation_makes_equal(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id TEXT COLLATE NOCASE PRIMARY KEY, name, size)",
        "INSERT INTO item VALUES ('abc', 1, 1)",
    )
    await load(path, items(item("ABC", "new"), delete("abc")))
    assert held(path) == [("ABC", "new", None)]


@pytest.mark.parametrize("table", ["", "WITHOUT ROWID"])
async def test_a_key_whose_index_has_another_collation_than_its_column_changes_in_case(path: Path, table: str) -> None:
    run(
        path,
        f"CREATE TABLE item (id TEXT NOT NULL, name, size, PRIMARY KEY (id COLLATE NOCASE)) {table}",
        "INSERT INTO item VALUES ('abc', 1, 1)",
    )
    await load(path, items(item("ABC", "new"), delete("abc")))
    assert held(path) == [("ABC", "new", None)]


async def test_new_columns_are_added(path: Path) -> None:
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY)", "INSERT INTO item VALUES (1)")
    columns = (
        *ITEM.columns,
        Column("level", "integer", nullable=False, native_type="INT", default="3"),
        Column("when", "any", native_type="DATETIME", default="CURRENT_TIMESTAMP"),
        Column("evil", "any", native_type="x); DROP TABLE item; --", default="'; DROP TABLE item"),
    )
    schema = StreamSchema(ITEM.stream, ITEM.label, columns, ITEM.primary_keys)
    body = {"id": 2, "name": "x", "size": 1, "level": 4, "when": "now", "evil": 0}
    await load(path, file_to_load(schema, [orjson.dumps({"upsert": body}) + b"\n"]))
    assert held(path) == [(1, None, None, 3, None, None), (2, "x", 1, 4, "now", 0)]


async def test_a_column_generated_at_the_destination_is_skipped_and_reported(path: Path) -> None:
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, size AS (length(name)))")
    loaded = await load(path, items(item(1, "four", 99)))
    assert loaded.skipped_columns == ("size",)
    assert held(path) == [(1, "four", 4)]


async def test_a_record_without_a_column_leaves_its_value(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, size DEFAULT 5)",
        "INSERT INTO item VALUES (1,'a',2)",
    )
    await load(path, items(b'{"upsert":{"id":1,"name":"b"}}\n', b'{"upsert":{"id":2,"name":"c"}}\n'))
    assert held(path) == [(1, "b", 2), (2, "c", 5)]


async def test_a_table_without_a_unique_key_is_named_with_the_statement_to_run(path: Path) -> None:
    run(path, "CREATE TABLE item (id INTEGER, name TEXT, size)")
    with pytest.raises(ConfigurationError, match="CREATE UNIQUE INDEX") as caught:
        await load(path, items(item(1, "x")))
    run(path, str(caught.value).rpartition("make one: ")[2])
    await load(path, items(item(1, "x")))
    assert held(path) == [(1, "x", None)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name, size); DROP TABLE other",
        "CREATE TABLE another (id INTEGER PRIMARY KEY, name, size)",
        "CREATE TABLE item AS SELECT 1 AS id, 2 AS name, 3 AS size",
        "CREATE TEMP TABLE item (id INTEGER PRIMARY KEY, name, size)",
        "CREATE VIEW item AS SELECT 1 AS id",
        "CREATE VIRTUAL TABLE item USING fts5(id)",
        "ATTACH '/tmp/x.db' AS x",
        "PRAGMA writable_schema=ON",
        "DROP TABLE other",
        "",
        7,
    ],
)
async def test_a_statement_that_does_more_than_create_the_table_is_not_run(path: Path, statement: object) -> None:
    run(path, "CREATE TABLE other (a)")
    before = rows(path, "SELECT * FROM sqlite_schema")
    schema = StreamSchema(
        ITEM.stream, ITEM.label, ITEM.columns, ITEM.primary_keys, {"sqlite": {"create_table": statement}}
    )
    with pytest.raises(ConfigurationError, match="table item cannot be used"):
        await load(path, file_to_load(schema, [item(1, "x")]))
    assert rows(path, "SELECT * FROM sqlite_schema") == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX i ON other (a)",
        "CREATE INDEX i ON item (name); DROP TABLE other",
        "CREATE TRIGGER i AFTER INSERT ON item BEGIN DELETE FROM other; END",
        "DROP TABLE item",
    ],
)
async def test_a_statement_that_does_more_than_create_an_index_is_reported_and_not_run(
    path: Path, statement: str
) -> None:
    run(path, "CREATE TABLE other (a)")
    native = {"create_table": "CREATE TABLE item (id INTEGER PRIMARY KEY, name, size)", "indexes": [statement]}
    schema = StreamSchema(ITEM.stream, ITEM.label, ITEM.columns, ITEM.primary_keys, {"sqlite": native})
    await load(path, file_to_load(schema, [item(1, "x")]))
    before = rows(path, "SELECT * FROM sqlite_schema")
    async with SqliteDestination(path).open(FLOW) as session:
        (violation,) = await session.finish([ITEM.stream])
    assert "cannot be used" in violation.message
    assert rows(path, "SELECT * FROM sqlite_schema") == before


@pytest.mark.parametrize("name", ["_pipeline_marks", "_PIPELINE_Marks", "sqlite_sequence", "SQLITE_x"])
async def test_a_stream_cannot_have_the_name_of_a_reserved_table(path: Path, name: str) -> None:
    schema = StreamSchema(StreamName(name), Label(name), ITEM.columns, ITEM.primary_keys)
    with pytest.raises(ConfigurationError, match="reserved"):
        await load(path, file_to_load(schema, [item(1, "x")]))


async def test_the_apps_table_with_the_name_of_a_reserved_one_is_named_before_anything_is_written(path: Path) -> None:
    run(path, "CREATE TABLE _Pipeline_Marks (a)")
    before = rows(path, "SELECT * FROM sqlite_schema")
    with pytest.raises(ConfigurationError, match=r"a table _Pipeline_Marks of its own.*rename"):
        await load(path, items(item(1, "x")))
    assert rows(path, "SELECT * FROM sqlite_schema") == before


async def test_a_stream_may_be_called_like_the_pipelines_tables_in_general(path: Path) -> None:
    schema = StreamSchema(StreamName("_pipeline_jobs"), Label("_pipeline_jobs"), ITEM.columns, ITEM.primary_keys)
    await load(path, file_to_load(schema, [item(1, "x")]))
    assert rows(path, "SELECT id, name FROM _pipeline_jobs") == [(1, "x")]


async def test_a_line_that_is_not_json_fails_the_whole_file(path: Path) -> None:
    with pytest.raises(DamagedError, match="line 3 is not JSON"):
        await load(path, items(item(1, "x"), b"{oops\n"))
    assert rows(path, "SELECT name FROM sqlite_schema") == []


async def test_violated_constraints_are_counted_and_the_rows_left(tmp_path: Path, path: Path) -> None:
    source = tmp_path / "source.db"
    run(
        source,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent, code)",
        "CREATE UNIQUE INDEX child_code ON child (code)",
        "INSERT INTO child VALUES (1, 5, 1), (2, 6, 2), (3, 7, 3), (4, 8, 4), (5, NULL, 5)",
    )
    run(
        path,
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent, code)",
        "INSERT INTO child VALUES (9, NULL, 1)",
    )
    violations = await copy(source, path)
    assert [(violation.stream, violation.message.partition(":")[0]) for violation in violations] == [
        ("child", "the index 'CREATE UNIQUE INDEX child_code ON child (code)' cannot be made"),
        ("child", "4 rows refer through parent to missing rows of parent (rowid 1, 2, 3 …)"),
    ]
    assert len(rows(path, "SELECT * FROM child")) == 6


async def test_ten_thousand_marks_are_read_whole(path: Path) -> None:
    await load(path, items(item(1, "x")))
    values: Sequence[tuple[str]] = [(f"2/a%20b/full/{chunk}",) for chunk in range(10_000)]
    run(path, "INSERT INTO _pipeline_marks VALUES ('crm', ?, 'a b', 1, 2, 3, 4, 5)", values=values)
    async with SqliteDestination(path).open(FLOW) as session:
        marks = await session.marks()
    assert len(marks) == 10_001
    assert marks[EventFileId(2, StreamName("a b"), Phase.FULL, 9_999)] == Mark(1, 2, 3, 4, 5)


async def test_tagged_values_are_stored_as_what_they_mean(path: Path) -> None:
    lines = [item(n, {"$bytes": "AAE="}, {"$float": "-inf"}) for n in range(3)]
    await load(path, items(*lines, item(3, {"$text": "/w=="}, True)))
    assert rows(path, "SELECT typeof(name), hex(name), size FROM item ORDER BY id") == [
        *[("blob", "0001", float("-inf"))] * 3,
        ("text", "FF", 1),
    ]


async def test_text_that_is_not_valid_in_another_encoding_is_rejected(tmp_path: Path, path: Path) -> None:
    source = tmp_path / "source.db"
    run(
        source,
        "PRAGMA encoding='UTF-16le'",
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name)",
        "INSERT INTO item VALUES (1, CAST(x'00d8' AS TEXT)), (2, 'é')",
    )
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name)")
    (file,) = await export(source)
    loaded: Loaded = await load(path, file)
    assert [rejection.reason for rejection in loaded.rejections] == [
        "column name: text that is not valid UTF-16le cannot be held by a database in UTF-8"
    ]
    assert rows(path, "SELECT * FROM item") == [(2, "é")]


async def test_a_table_of_the_app_whose_name_differs_in_case_is_loaded_into(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        "CREATE TABLE Orders (Id INTEGER PRIMARY KEY AUTOINCREMENT, userName TEXT)",
        "CREATE INDEX byName ON Orders (userName)",
        "INSERT INTO Orders VALUES (5, 'ann')",
    )
    run(destination, "CREATE TABLE orders (ID INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT, extra DEFAULT 7)")
    assert await copy(source, destination) == []
    assert rows(destination, "SELECT * FROM orders") == [(5, "ann", 7)]
    assert rows(destination, "SELECT name, seq FROM sqlite_sequence") == [("orders", 5)]
    assert rows(destination, "SELECT name FROM sqlite_schema WHERE name LIKE 'by%'") == [("byName",)]
    other = StreamSchema(StreamName("ORDERS"), Label("ORDERS"), ITEM.columns, ITEM.primary_keys)
    with pytest.raises(ConfigurationError, match="SQLite holds its table and orders, which is that of another stream"):
        await load(destination, file_to_load(other, [item(1, "x")]))


async def test_a_key_that_a_table_of_the_app_lacks_is_added_with_its_index(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        "CREATE TABLE setting (key TEXT PRIMARY KEY, value)",
        "INSERT INTO setting VALUES ('a', 1), ('b', 2)",
    )
    run(destination, "CREATE TABLE setting (key TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID")
    await copy(source, destination)
    assert rows(destination, "SELECT key, value, rowid FROM setting") == [("a", 1, 1), ("b", 2, 2)]
    run(source, "UPDATE setting SET key = 'c' WHERE key = 'a'")
    run(destination, "DELETE FROM _pipeline_marks")
    await copy(source, destination)
    assert rows(destination, "SELECT key, value FROM setting") == [("b", 2), ("c", 1)]


async def test_rows_without_a_key_go_into_a_table_of_the_app(tmp_path: Path) -> None:
    path = tmp_path / "destination.db"
    run(path, "CREATE TABLE item (name TEXT)")
    columns = (Column("$row", "text", False), Column("$dup", "integer", False), Column("name", "text"))
    schema = StreamSchema(ITEM.stream, ITEM.label, columns, ("$row", "$dup"))
    lines = [orjson.dumps({"upsert": {"$row": "r", "$dup": dup, "name": "x"}}) + b"\n" for dup in (0, 1)]
    await load(path, file_to_load(schema, [b"".join(lines)]))
    await load(path, file_to_load(schema, [b"".join(lines)], chunk=1))
    assert rows(path, "SELECT name FROM item") == [("x",), ("x",)]


@pytest.mark.parametrize(("deletes_first", "deleted_in"), [(True, 2), (False, 2), (False, 3)])
async def test_a_table_that_is_renamed_in_case_alone_keeps_its_rows(
    tmp_path: Path, deletes_first: bool, deleted_in: int
) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(source, "CREATE TABLE item (id INTEGER PRIMARY KEY, name)", "INSERT INTO item VALUES (1, 'x'), (2, 'y')")
    (before,) = await export(source)
    await load(destination, replace(before, movement=1))
    run(source, "ALTER TABLE item RENAME TO other", "ALTER TABLE other RENAME TO Item")
    (after,) = await export(source)
    gone = file_to_load(before.header.schema, [delete(1) + delete(2)], chunk=1)
    files = [replace(after, movement=2), replace(gone, movement=deleted_in)]
    for file in reversed(files) if deletes_first else files:
        await load(destination, file)
    assert rows(destination, "SELECT * FROM item") == [(1, "x"), (2, "y")]
    assert rows(destination, "SELECT name FROM sqlite_schema WHERE name = 'item' COLLATE NOCASE") == [("Item",)]
    run(source, "DELETE FROM Item WHERE id = 1", "ALTER TABLE Item ADD COLUMN more DEFAULT 5")
    (again,) = await export(source)
    later = replace(again.entry, id=replace(again.entry.id, movement=4))
    await load(destination, replace(again, movement=4, entry=later))
    assert rows(destination, "SELECT * FROM item WHERE id = 2") == [(2, "y", 5)]


async def test_rows_of_the_app_are_not_taken_for_those_with_their_numbers(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(source, "CREATE TABLE setting (key TEXT PRIMARY KEY, value)", "INSERT INTO setting VALUES ('a', 1)")
    run(
        destination,
        "CREATE TABLE setting (key TEXT NOT NULL PRIMARY KEY, value)",
        "INSERT INTO setting VALUES ('own', 7)",
    )
    with pytest.raises(ConfigurationError, match=r"Table setting of the destination has rows already.*empty"):
        await copy(source, destination)
    assert rows(destination, "SELECT * FROM setting") == [("own", 7)]
    run(destination, "DELETE FROM setting")
    await copy(source, destination)
    run(source, "UPDATE setting SET value = 2")
    run(destination, "DELETE FROM _pipeline_marks")
    await copy(source, destination)
    assert rows(destination, "SELECT * FROM setting") == [("a", 2)]


async def test_columns_that_differ_in_case_alone_are_named(path: Path) -> None:
    columns = (Column("id", "integer", False), Column("a", "text"), Column("A", "text"))
    schema = StreamSchema(ITEM.stream, ITEM.label, columns, ("id",))
    with pytest.raises(ConfigurationError, match="SQLite holds its columns a and A to be one; rename one of them"):
        await load(path, file_to_load(schema, [b'{"upsert":{"id":1,"a":"x","A":"y"}}\n']))


def test_a_table_is_found_in_as_many_steps_however_many_tables_there_are() -> None:
    steps = list[int]()
    for tables in (2, 200):
        connection, taken = apsw.Connection(":memory:"), list[int]()
        for number in range(tables):
            connection.execute(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY)")
        ensure_table(connection, ITEM)

        def note(event: dict[str, Any], taken: list[int] = taken) -> None:
            taken.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
        ensure_own_names(connection, ITEM)
        connection.close()
        steps.append(sum(taken))
    assert steps[0] == steps[1] > 0
