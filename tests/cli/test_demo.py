"""`pipeline demo`: it proves what it says, and it notices when that does not hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.cli.demo.app import build_app, build_attachments, change_app
from pipeline.cli.demo.check import differences, tree_differences
from tests.cli.app import CommandLine, change


def test_the_demo_proves_itself(pipeline: CommandLine) -> None:
    outcome = pipeline("demo", "--directory", "show")
    assert outcome.code == 0, outcome.out
    assert outcome.out.count("source and copy are equal.") == 3
    assert "NO " not in outcome.out
    assert pipeline("demo", "--directory", "show").code == 0


def test_it_leaves_a_directory_of_yours_alone(pipeline: CommandLine) -> None:
    Path("mine").mkdir()
    Path("mine/precious").touch()
    outcome = pipeline("demo", "--directory", "mine")
    assert outcome.code == 2
    assert "--directory" in outcome.err
    assert Path("mine/precious").exists()


def test_the_app_has_some_5000_rows_and_is_consistent(tmp_path: Path) -> None:
    rows = build_app(tmp_path / "app.db", tmp_path / "tree")
    assert 5_000 <= rows <= 6_000
    assert all(change_app(tmp_path / "app.db", tmp_path / "tree").values())
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_comparison_sees_a_changed_type_a_missing_row_and_a_missing_index(tmp_path: Path) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    build_app(one, tmp_path / "tree")
    other.write_bytes(one.read_bytes())
    assert list(differences(one, other)) == []
    change(other, "UPDATE oddities SET value = 1 WHERE value = 1.0 AND typeof(value) = 'real'")
    change(other, "DELETE FROM products WHERE sku = 'SKU-0001'")
    change(other, "DROP INDEX late_orders")
    found = "\n".join(differences(one, other))
    assert "table oddities: 1 rows" in found
    assert "table products: 1 rows" in found
    assert "late_orders is missing" in found


def test_the_comparison_of_trees_sees_content_time_and_links(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    build_attachments(one)
    build_attachments(other)
    (other / "odd/.hidden").write_bytes(b"HIDDEN")
    (other / "latest invoice").unlink()
    (other / "new").touch()
    found = list(tree_differences(one, other))
    assert "'latest invoice' is missing" in found
    assert "'new' is extra" in found
    assert "'odd/.hidden' is different" in found
