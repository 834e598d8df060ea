"""Stored objects that an expiry rule or a person took away are named, each with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.app import CommandLine, change, contents, make_database

OBJECTS = Path(".pipeline/store/objects/flows/crm")


@pytest.mark.parametrize(
    ("pattern", "command", "words"),
    [
        ("movements/1/movement.json", ("move",), "The Movement flows/crm/movements/1/movement.json"),
        ("movements/1/groups/*/files.1.jsonl", ("move",), "The File List flows/crm/movements/1/groups/"),
        ("snapshots/people/1.1", ("move",), "The snapshot state flows/crm/snapshots/people/1.1"),
        ("flow.json", ("compact",), "There is no Flow named 'crm' here"),
    ],
)
def test_an_object_that_is_gone_is_named_with_the_way_out(
    pattern: str, command: tuple[str, ...], words: str, pipeline: CommandLine
) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    (gone,) = OBJECTS.glob(pattern)
    gone.unlink()
    arguments = ("app.db", "copy.db", "--flow", "crm") if command == ("move",) else ("crm",)
    outcome = pipeline(*command, *arguments)
    said = outcome.err + outcome.out
    assert outcome.code == 1, said
    assert words in said
    assert "flow.json" in pattern or ("is missing from the store" in said and "--flow NAME" in said)


@pytest.mark.parametrize(
    "patterns",
    [
        ("movements/*/movement.json",),
        ("movements/*/groups/*/files.*.jsonl",),
        ("snapshots/people/*",),
        ("events/**/*.zst",),
        ("movements/**/*.json*", "snapshots/**/*", "events/**/*"),
    ],
)
def test_a_rebuilt_flow_moves_only_what_differs(patterns: tuple[str, ...], pipeline: CommandLine) -> None:
    source, copy = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    make_database(source)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    for pattern in patterns:
        for gone in [found for found in OBJECTS.glob(pattern) if found.is_file()]:
            gone.unlink()
    change(source, "UPDATE people SET name = 'new' WHERE id = 1")
    change(source, "DELETE FROM people WHERE id = 2")
    change(copy, "DELETE FROM people WHERE id = 3")
    change(copy, "INSERT INTO people VALUES (1000, 'more', 1)")
    outcome = pipeline("rebuild", "crm")
    assert outcome.code == 0, outcome.err
    assert "people: 4 keys to move" in outcome.out
    last = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]
    assert (last["status"], last["records"]) == ("SUCCESS", {"upserts": 2, "deletes": 2, "quarantined": 0})
    nothing = {"upserts": 0, "deletes": 0, "quarantined": 0}
    assert contents(copy) == contents(source)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]["records"] == nothing
    assert pipeline("verify", "crm").code == 0
    assert pipeline("prune", "crm", "--yes").code == 0
    assert pipeline("status", "--flow", "crm").code == 0
    later = pipeline("flow", "add-destination", "crm", "second.db")
    assert later.code == 2
    assert "its history is not complete" in later.err


def test_a_tree_and_a_database_are_rebuilt_together(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    (pipeline.directory / "in").mkdir()
    (pipeline.directory / "in" / "a").write_bytes(b"a")
    (pipeline.directory / "in" / "b").write_bytes(b"b")
    move = ("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm", "--json")
    assert pipeline(*move).code == 0
    for gone in [*OBJECTS.glob("snapshots/**/*"), *OBJECTS.glob("binaries/**/*")]:
        if gone.is_file():
            gone.unlink()
    (pipeline.directory / "out" / "a").write_bytes(b"other")
    document = pipeline("rebuild", "crm", "--json").objects[-1]
    assert document == {"flow": "crm", "movement": 2, "differences": {"@files": 1}, "whole": {}}
    assert pipeline(*move).objects[-1]["records"] == {"upserts": 1, "deletes": 0, "quarantined": 0}
    assert (pipeline.directory / "out" / "a").read_bytes() == b"a"


def test_a_flow_from_which_others_derive_is_not_rebuilt(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    assert pipeline("flow", "add-destination", "crm", "second.db", "--name", "second").code == 0
    outcome = pipeline("rebuild", "crm")
    assert outcome.code != 0
    assert "these derived Flows import it: 'second'. Remove them" in outcome.err


def test_a_flow_of_which_nothing_is_left_is_created_and_rebuilt(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    change(pipeline.directory / "app.db", "CREATE VIEW names AS SELECT name FROM people")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    for gone in [found for found in OBJECTS.glob("**/*") if found.is_file()]:
        gone.unlink()
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    change(pipeline.directory / "app.db", "UPDATE people SET name = 'new' WHERE id = 1")
    assert pipeline("rebuild", "crm").code == 0
    last = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]
    assert last["records"] == {"upserts": 2, "deletes": 0, "quarantined": 0}  # the row, and the view for the ledger
    change(pipeline.directory / "app.db", "DROP VIEW names")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")
    assert pipeline("verify", "crm").code == 0
