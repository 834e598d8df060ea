"""`pipeline verify`, from end to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.cli.app import CommandLine, change, contents, make_database, run_process
from tests.connectors.files.trees import ACL_OF_TWO

FIELDS = {
    "flow",
    "equal",
    "source",
    "destination",
    "against",
    "movement",
    "begun",
    "ended",
    "streams",
    "gaps",
    "accepted_missing",
    "covers",
    "not_compared",
}


def moved(pipeline: CommandLine) -> tuple[Path, Path]:
    """Move a database and a tree of files, and return the two copies."""
    make_database(pipeline.directory / "app.db")
    (pipeline.directory / "in").mkdir()
    (pipeline.directory / "in" / "a.txt").write_bytes(b"content")
    assert pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm").code == 0
    return pipeline.directory / "copy.db", pipeline.directory / "out" / "a.txt"


def spoil(copy: Path, file: Path) -> None:
    """Change what was moved."""
    change(copy, "UPDATE people SET name = 'other' WHERE id = 7")
    change(copy, "DELETE FROM people WHERE id = 8")
    change(copy, "INSERT INTO people VALUES (1000, 'more', 1)")
    status = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def only(outcome_objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The one object that was printed."""
    (document,) = outcome_objects
    return document


def test_equal_is_exit_code_0_and_one_word(pipeline: CommandLine) -> None:
    moved(pipeline)
    outcome = pipeline("verify", "crm")
    assert outcome.code == 0
    assert "  people        100             100        0      0          0         0  equal" in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "EQUAL: the destination holds what the source holds. This covers the rows of 1 table, generated columns, indexes, "
        "constraints and defaults, the kinds, contents, permissions, times and link targets of files."
    )


def test_different_is_exit_code_1_and_every_key_is_named(pipeline: CommandLine) -> None:
    spoil(*moved(pipeline))
    outcome = pipeline("verify", "crm")
    assert outcome.code == 1
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["[7]", "different", "name"] in lines
    assert ["[8]", "missing"] in lines
    assert ["[1000]", "extra"] in lines
    assert ['["a.txt"]', "different", "digest"] in lines
    assert outcome.out.splitlines()[-1].startswith("DIFFERENT: 4 keys in 2 streams. ")


def test_a_program_reads_the_same_as_one_object(pipeline: CommandLine) -> None:
    spoil(*moved(pipeline))
    outcome = pipeline("verify", "crm", "--stream", "people", "--keys", "1", "--json")
    assert outcome.code == 1
    document = only(outcome.objects)
    assert document.keys() == FIELDS
    assert document["equal"] is False
    (stream,) = document["streams"]
    assert stream["stream"] == "people"
    assert (stream["source"]["rows"], stream["destination"]["rows"]) == (100, 100)
    assert stream["source"]["digest"] != stream["destination"]["digest"]
    assert stream["ranges"]["differing"] == len(stream["ranges"]["first"]) >= 1
    assert stream["keys"] == {
        "missing": 1,
        "extra": 1,
        "different": 1,
        "waiting": 0,
        "twice": 0,
        "set_aside": 0,
        "first": [{"key": [7], "is": "different", "columns": ["name"], "set_aside": None}],
    }


def test_repair_brings_what_differs_and_leaves_nothing_to_do(pipeline: CommandLine) -> None:
    copy, file = moved(pipeline)
    spoil(copy, file)
    outcome = pipeline("verify", "crm", "--repair")
    assert outcome.code == 0
    assert "Repaired by Movement 2, SUCCESS: 3 upserts and 1 delete. Equal now: 4 of 4 differing keys." in outcome.out
    assert outcome.out.splitlines()[-1].startswith("EQUAL: ")
    assert contents(copy) == contents(pipeline.directory / "app.db")
    assert file.read_bytes() == b"content"
    last = pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm", "--json").objects[-1]
    assert last["records"] == {"upserts": 0, "deletes": 0, "quarantined": 0}
    assert pipeline("verify", "crm").code == 0


def test_a_repair_is_one_object_with_the_comparison_before_it(pipeline: CommandLine) -> None:
    spoil(*moved(pipeline))
    outcome = pipeline("verify", "crm", "--repair", "--json")
    assert outcome.code == 0
    document = only(outcome.objects)
    assert document.keys() == FIELDS | {"repair"}
    assert document["equal"] is True
    assert document["repair"]["found"]["equal"] is False
    assert document["repair"]["mended"] == 4
    assert document["repair"]["records"] == {"upserts": 3, "deletes": 1, "quarantined": 0}


def test_a_repair_of_many_files_waits_for_no_sweep(tmp_path: Path) -> None:
    """The process that repairs is alone: a group of many Event Files is not divided into shards for a fleet."""
    source = make_database(tmp_path / "app.db", rows=15)
    (tmp_path / "s.toml").write_text("event_file_rows = 1\nsweep_seconds = 600.0\nprogress_seconds = 600.0\n")
    config = ("--config", "s.toml")
    assert run_process("move", "app.db", "copy.db", "--flow", "crm", *config, cwd=tmp_path).returncode == 0
    change(tmp_path / "copy.db", "DELETE FROM people")
    outcome = run_process("verify", "crm", "--repair", *config, cwd=tmp_path)
    assert outcome.returncode == 0
    assert contents(tmp_path / "copy.db") == contents(source)


def test_nothing_to_repair_makes_no_movement(pipeline: CommandLine) -> None:
    moved(pipeline)
    assert pipeline("verify", "crm", "--repair").code == 0
    assert only(pipeline("verify", "crm", "--json").objects)["movement"]["number"] == 1


def test_verify_and_move_agree_about_attributes_that_are_not_moved(pipeline: CommandLine) -> None:
    (pipeline.directory / "in").mkdir()
    (pipeline.directory / "in" / "f").touch(0o600)
    os.setxattr(pipeline.directory / "in" / "f", "system.posix_acl_access", ACL_OF_TWO)
    assert pipeline("move", "in", "out", "--flow", "crm").code == 1
    outcome = pipeline("verify", "crm", "--repair")
    assert outcome.code == 1
    assert "not moved: 1 access control list (f (system.posix_acl_access))" in outcome.out
    assert pipeline("move", "in", "out", "--flow", "crm", "--accept-missing", "access control list").code == 0
    assert pipeline("verify", "crm").code == 0


def test_a_record_set_aside_is_named_with_its_reason(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    change(
        pipeline.directory / "copy.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (name <> 'Person 7'), age INTEGER)",
    )
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 1
    outcome = pipeline("verify", "crm")
    assert outcome.code == 1
    assert "missing  rejected: CHECK constraint failed" in outcome.out
    outcome = pipeline("verify", "crm", "--repair")
    assert outcome.code == 1
    assert "Repaired by Movement 2, INCOMPLETE: 0 upserts and 0 deletes." in outcome.out


def test_what_was_stored_can_be_verified_without_the_source(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    source.unlink()
    outcome = pipeline("verify", "crm", "--against", "stored")
    assert outcome.code == 0
    assert (
        outcome.out.splitlines()[-1] == "EQUAL: the destination holds what was stored. This covers the rows of 1 table."
    )
    assert pipeline("verify", "crm").code == 2


def test_a_mistake_is_one_line(pipeline: CommandLine) -> None:
    assert pipeline("verify", "crm").code == 2
    moved(pipeline)
    for arguments, code, words in (
        (["nobody"], 1, "There is no Flow named 'nobody'"),
        (["crm", "--stream", "typo"], 2, "No stream of this Flow matches 'typo'"),
        (["crm", "--repair", "--against", "stored"], 2, "cannot go with --against stored"),
        (["crm", "--against", "stored"], 2, "cannot be compared with the stored state"),
    ):
        outcome = pipeline("verify", *arguments)
        assert (outcome.code, words in outcome.err) == (code, True), outcome
        assert "Traceback" not in outcome.err
