"""Verifying and repairing real databases and trees of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.comparison.report import Against, Finding
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.keys import RawText
from pipeline.engine.verify.verifier import VerifyRequest
from tests.connectors.sqlite.databases import dump, run
from tests.engine.real_flow import Places, RealFlow, one

NOT_UTF_8 = os.fsdecode(b"not \xff utf-8")


def databases(directory: Path, *statements: str) -> tuple[Path, Path, RealFlow]:
    """Make a database, and a Flow to another."""
    app, copy = directory / "app.db", directory / "copy.db"
    run(app, *statements)
    places = Places(SqliteSource(app), SqliteDestination(copy), SqliteSource(app), SqliteSource(copy))
    return app, copy, RealFlow(places)


EDGES = """CREATE TABLE edges (id INTEGER PRIMARY KEY, any_value, text_value TEXT, real_value REAL, blob_value BLOB)"""
ROWS = """INSERT INTO edges VALUES
(1, 1, 'a', 1.5, x'00ff'), (2, 1.0, '', -0.0, x''), (3, NULL, NULL, NULL, NULL), (4, '1', 'é', 9e999, 'text'),
(5, x'31', char(0), -9e999, zeroblob(9)), (6, -9223372036854775808, CAST(x'ff61' AS TEXT), 0.1, x'80')"""


async def test_edge_values_are_equal_after_a_movement_and_differ_in_the_smallest_change(tmp_path: Path) -> None:
    app, copy, flow = databases(tmp_path, EDGES, ROWS)
    await flow.move()
    assert (await flow.verify()).equal
    changes = {
        1: "any_value = 1.0",
        2: "real_value = 5e-324",
        3: "text_value = ''",
        4: "any_value = 1",
        5: "any_value = '1'",
        6: "text_value = CAST(x'fe61' AS TEXT)",
    }
    for number, change in changes.items():
        run(copy, f"UPDATE edges SET {change} WHERE id = {number}")
    report = one(await flow.verify())
    assert [(d.key, d.finding) for d in report.examples] == [((n,), Finding.DIFFERENT) for n in changes]
    assert [d.columns for d in report.examples] == [(change.split()[0],) for change in changes.values()]
    assert await flow.repaired() == (6, 0)
    assert dump(copy) == dump(app)


async def test_missing_and_extra_rows_of_every_kind_of_key(tmp_path: Path) -> None:
    app, copy, flow = databases(
        tmp_path,
        "CREATE TABLE words (word TEXT COLLATE NOCASE PRIMARY KEY NOT NULL) WITHOUT ROWID",
        "INSERT INTO words VALUES ('b'), ('a'), ('Z'), ('ä')",
        "CREATE TABLE pairs (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO pairs VALUES (1, x'00'), (2.5, 'x'), ('y', -1)",
        "CREATE TABLE keyless (value)",
        "INSERT INTO keyless VALUES (1), (1), (NULL)",
    )
    await flow.move()
    assert (await flow.verify()).equal
    run(copy, "DELETE FROM words WHERE word = 'Z'", "INSERT INTO words VALUES ('zz'), ('Ä')")
    run(copy, "DELETE FROM pairs WHERE a = 2.5", "INSERT INTO pairs VALUES (3, x'01')")
    run(copy, "DELETE FROM keyless WHERE rowid = 2", "INSERT INTO keyless VALUES (2)")
    found = {report.stream: (report.missing, report.extra) for report in (await flow.verify()).differing}
    assert found == {"words": (1, 2), "pairs": (1, 1), "keyless": (1, 1)}
    assert await flow.repaired() == (3, 4)
    assert dump(copy) == dump(app)


@pytest.mark.slow
async def test_many_differences_in_a_large_table(tmp_path: Path) -> None:
    app, copy, flow = databases(tmp_path, "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT)")
    run(app, "INSERT INTO item VALUES (?, ?)", values=[(number, f"text {number}") for number in range(20_000)])
    await flow.move()
    run(copy, "DELETE FROM item WHERE id % 1000 = 7", "UPDATE item SET text = 'x' WHERE id % 2000 = 8")
    run(copy, "INSERT INTO item SELECT id + 100000, text FROM item WHERE id < 500")
    report = one(await flow.verify())
    assert (report.missing, report.different, report.extra) == (20, 10, 499)
    assert report.ranges_differing <= report.ranges
    assert await flow.repaired() == (30, 499)
    assert dump(copy) == dump(app)


async def test_the_order_of_columns_and_columns_of_its_own_do_not_matter(tmp_path: Path) -> None:
    _, copy, flow = databases(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL)",
        "INSERT INTO t VALUES (1, 'x', 2), (2, 'y', 3)",
    )
    run(copy, "CREATE TABLE t (own TEXT DEFAULT 'mine', B REAL, a TEXT, id INTEGER PRIMARY KEY)")
    await flow.move()
    found = await flow.verify()
    assert found.equal
    assert found.streams[0].extra_columns == ("own",)
    run(copy, "UPDATE t SET own = 'changed'")
    assert (await flow.verify()).equal
    run(copy, "UPDATE t SET b = 4 WHERE id = 2")
    assert [(d.key, d.columns) for d in one(await flow.verify()).examples] == [((2,), ("b",))]
    assert await flow.repaired() == (1, 0)


async def test_columns_of_different_types_are_compared_by_value(tmp_path: Path) -> None:
    _, copy, flow = databases(
        tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)", "INSERT INTO t VALUES (1, 7), (2, 8)"
    )
    run(copy, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    await flow.move()
    assert (await flow.verify()).equal
    run(copy, "UPDATE t SET a = '7.5' WHERE id = 1")
    assert one(await flow.verify()).different == 1


async def test_a_column_that_was_dropped_at_the_destination_is_restored(tmp_path: Path) -> None:
    app, copy, flow = databases(
        tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'x'), (2, NULL)"
    )
    await flow.move()
    run(copy, "ALTER TABLE t DROP COLUMN a")
    report = one(await flow.verify())
    assert (report.missing_columns, report.different) == (("a",), 1)
    assert await flow.repaired() == (1, 0)
    assert dump(copy) == dump(app)


async def test_a_key_column_that_the_destination_lacks_is_named(tmp_path: Path) -> None:
    _, copy, flow = databases(
        tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'x')"
    )
    await flow.move()
    run(copy, "ALTER TABLE t RENAME COLUMN id TO other")
    report = one(await flow.verify())
    assert report.incomparable == "the destination has no column 'id', which is part of the key"
    assert report.differences == 0


async def test_a_dropped_table_is_restored_and_tables_of_the_destination_alone_are_named(tmp_path: Path) -> None:
    app, copy, flow = databases(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
        "CREATE TABLE empty (id INTEGER PRIMARY KEY, note TEXT)",
    )
    await flow.move()
    run(copy, "DROP TABLE t", "DROP TABLE empty", "CREATE TABLE own (id INTEGER PRIMARY KEY)")
    found = await flow.verify()
    assert [(report.stream, report.absent) for report in found.differing] == [("empty", True), ("t", True)]
    assert found.only_at_destination == ("own",)
    assert await flow.repaired() == (2, 0)
    run(copy, "DROP TABLE own")
    assert dump(copy) == dump(app)


async def test_a_database_is_not_read_when_the_stored_state_is_compared(tmp_path: Path) -> None:
    app, copy, flow = databases(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES (1, 1)")
    await flow.move()
    app.unlink()
    stored = VerifyRequest(against=Against.STORED)
    assert (await flow.verify(stored)).equal
    run(copy, "INSERT INTO t VALUES (2, 2)")
    assert one(await flow.verify(stored)).extra == 1


async def test_a_missing_destination_is_reported_and_not_created(tmp_path: Path) -> None:
    _, copy, flow = databases(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    await flow.move()
    copy.unlink()
    with pytest.raises(ConfigurationError, match="there is no such file"):
        await flow.verify()
    assert not copy.exists()


def tree(directory: Path) -> tuple[Path, Path, RealFlow]:
    """Make a tree of files, and a Flow to another."""
    here, there = directory / "here", directory / "there"
    (here / "sub").mkdir(parents=True)
    for number in range(8):
        (here / "sub" / f"{number}.bin").write_bytes(b"content" * number)
    (here / "link").symlink_to("sub/1.bin")
    (here / NOT_UTF_8).write_bytes(b"x")
    copied = FilesSource(there, checksum=True)
    return (
        here,
        there,
        RealFlow(Places(FilesSource(here), FilesDestination(there), FilesSource(here, checksum=True), copied)),
    )


def rewrite(path: Path, data: bytes) -> None:
    """Change the content of a file, but not its size and times."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


async def test_a_tree_of_files_is_equal_after_a_movement(tmp_path: Path) -> None:
    _, _, flow = tree(tmp_path)
    await flow.move()
    found = await flow.verify()
    assert found.equal
    assert found.streams[0].source.rows == 11


async def test_other_content_under_equal_size_and_time_is_found_and_repaired(tmp_path: Path) -> None:
    here, there, flow = tree(tmp_path)
    await flow.move()
    rewrite(there / "sub" / "3.bin", b"CONTENT" * 3)
    assert [(d.key, d.columns) for d in one(await flow.verify()).examples] == [(("sub/3.bin",), ("digest",))]
    assert await flow.repaired() == (1, 0)
    assert (there / "sub" / "3.bin").read_bytes() == (here / "sub" / "3.bin").read_bytes()


async def test_missing_extra_and_altered_entries_of_a_tree(tmp_path: Path) -> None:
    here, there, flow = tree(tmp_path)
    await flow.move()
    (there / NOT_UTF_8).unlink()
    (there / "link").unlink()
    (there / "link").symlink_to("sub/2.bin")
    (there / "sub" / "4.bin").chmod(0o600)
    (there / "sub" / "extra.bin").write_bytes(b"extra")
    report = one(await flow.verify())
    found = {d.key[0]: (d.finding, d.columns) for d in report.examples}
    assert found[RawText(b"not \xff utf-8")] == (Finding.MISSING, ())
    assert "target" in found["link"][1]
    assert found["sub/4.bin"] == (Finding.DIFFERENT, ("mode",))
    assert found["sub/extra.bin"] == (Finding.EXTRA, ())
    repaired = await flow.repaired()
    assert repaired[1] == 1
    assert not (there / "sub" / "extra.bin").exists()
    assert (there / "link").readlink() == (here / "link").readlink()


async def test_files_cannot_be_compared_with_the_stored_state(tmp_path: Path) -> None:
    _, _, flow = tree(tmp_path)
    await flow.move()
    with pytest.raises(ConfigurationError, match="cannot be compared with the stored state"):
        await flow.verify(VerifyRequest(against=Against.STORED))
