"""`pipeline prune`: it shows what it would delete, deletes with --yes, and leaves everything that is needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.app import CommandLine, change, contents, make_database


def stored_files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in (directory / ".pipeline").rglob("*") if path.is_file()}


def moved_with_files(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    Path("in").mkdir()
    for number in range(1, 4):
        Path("in/same.txt").write_text("always")
        Path("in/other.txt").write_text(f"content {number}")
        change(source, f"UPDATE people SET age = {number} WHERE id > 50")
        assert pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm").code == 0


def test_without_yes_nothing_is_deleted(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    before = stored_files(pipeline.directory)
    outcome = pipeline("prune", "crm")
    assert outcome.code == 0
    assert "would be deleted" in outcome.out
    assert "pipeline prune crm --yes" in outcome.out
    assert stored_files(pipeline.directory) == before


def test_a_line_is_printed_for_each_object(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    *objects, result = pipeline("prune", "crm", "--json").objects
    assert result["deleted"] is False
    assert sum(amount["objects"] for amount in result["going"]) == len(objects)  # type: ignore[attr-defined]  # JSON
    assert all(str(one["key"]).startswith("flows/crm/") for one in objects)


def test_binary_files_that_nothing_refers_to_go_with_the_history(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    kinds = {one["kind"] for one in pipeline("prune", "crm", "--json").objects[:-1]}
    assert "binary_file" not in kinds  # the history refers to each
    pipeline("compact", "crm")
    result = pipeline("prune", "crm", "--yes", "--json").objects[-1]
    going = {amount["kind"]: amount["objects"] for amount in result["going"]}  # type: ignore[attr-defined]  # JSON
    assert (result["deleted"], going["binary_file"]) == (True, 2)
    assert "nothing to delete" in pipeline("prune", "crm", "--yes").out


def test_everything_goes_on_after_it(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    pipeline("flow", "add-destination", "crm", "early.db", "--files", "early", "--name", "early")
    pipeline("flow", "import", "early")
    pipeline("compact", "crm")
    pipeline("prune", "crm", "--yes")
    assert pipeline("status").code == 0
    change(pipeline.directory / "app.db", "DELETE FROM people WHERE id > 90")
    Path("in/other.txt").write_text("content 1")  # a Binary File that was deleted comes back
    assert pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm").code == 0
    pipeline("flow", "add-destination", "crm", "late.db", "--files", "late", "--name", "late")
    assert pipeline("flow", "import", "late").code == 0
    for copy, files in (("copy.db", "out"), ("early.db", "early"), ("late.db", "late")):
        assert contents(pipeline.directory / copy) == contents(pipeline.directory / "app.db")
        assert Path(files, "other.txt").read_text() == "content 1"
        assert Path(files, "same.txt").read_text() == "always"


def test_a_destination_restored_from_an_old_backup_ends_right(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    with closing(sqlite3.connect("copy.db")) as copy, closing(sqlite3.connect("kept.db")) as kept:
        copy.backup(kept)
    for number in range(1, 4):
        change(source, f"DELETE FROM people WHERE id = {number}")
        change(source, f"INSERT INTO people VALUES ({1000 + number}, 'New', 1)")
        pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("compact", "crm")
    pipeline("prune", "crm", "--yes")
    Path("kept.db").rename("copy.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    assert contents(pipeline.directory / "copy.db") == contents(source)


def test_what_a_killed_prune_leaves_is_taken_over(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    document = Path(".pipeline/store/objects/flows/crm/flow.json")
    if not document.exists():
        (document,) = [path for path in Path(".pipeline/store").rglob("*") if path.name.startswith("flow.json")]
    text = document.read_text()
    assert '"pruning": null' in text
    document.write_text(text.replace('"pruning": null', '"pruning": "host:1 since then"'))
    outcome = pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm")
    assert (outcome.code, "pipeline prune crm --yes" in outcome.err) == (1, True)
    assert pipeline("prune", "crm", "--yes").code == 0
    assert pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm").code == 0


def test_old_movements_say_that_they_are_pruned(pipeline: CommandLine) -> None:
    moved_with_files(pipeline)
    pipeline("prune", "crm", "--yes")
    outcome = pipeline("files", "crm", "--movement", "1")
    assert (outcome.code, "have been pruned" in outcome.err) == (1, True)
    assert pipeline("files", "crm").code == 0


def test_a_flow_that_never_moved_has_nothing_to_prune(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    assert pipeline("prune", "crm").code == 2
    assert pipeline("prune", "unknown", "--yes").code == 1
