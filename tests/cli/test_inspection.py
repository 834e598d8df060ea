"""`status`, `files` and `show`: looking at what was moved."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, change, make_database


@pytest.fixture
def moved(pipeline: CommandLine) -> CommandLine:
    """A Flow `crm` with two Movements."""
    source = make_database(pipeline.directory / "app.db", rows=10)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    change(source, "DELETE FROM people WHERE id = 3")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    return pipeline


def test_status_shows_flows_movements_groups_and_files(moved: CommandLine) -> None:
    assert "crm" in moved("status").out
    found = moved("status", "--json").objects[0]["flows"]
    assert isinstance(found, list)
    (flow,) = found
    assert [(one["movement"], one["status"]) for one in flow["movements"]] == [(1, "SUCCESS"), (2, "SUCCESS")]
    assert flow["groups"] == [{"label": "people", "event_files": 2, "imported": 2}]
    assert flow["failures"] == []


def test_status_takes_the_flow_as_argument_or_option(moved: CommandLine) -> None:
    found = moved("status", "--json").objects[0]["flows"]
    assert isinstance(found, list)
    name = found[0]["flow"]
    shown = moved("status", name, "--json").objects
    assert shown == moved("status", "--flow", name, "--json").objects
    assert shown[0] | {"flows": [one["flow"] for one in found]} == {"flows": [name], "unreadable": []}
    outcome = moved("status", name, "--flow", "other")
    assert outcome.code == 2
    assert f"Two Flows are given, {name} and other." in outcome.err


def test_status_of_an_unknown_flow_says_what_to_do(moved: CommandLine) -> None:
    outcome = moved("status", "--flow", "nope")
    assert outcome.code == 1
    assert "nope" in outcome.err


def test_without_a_home_status_says_so(pipeline: CommandLine) -> None:
    outcome = pipeline("status")
    assert outcome.code == 2
    assert "--home" in outcome.err


def test_files_are_listed_in_order_with_what_is_imported(moved: CommandLine) -> None:
    listed = moved("files", "crm", "--json").objects
    assert [(one["file"], one["imported"]) for one in listed] == [
        ("1/people/full/0", True),
        ("2/people/incremental/0", True),
    ]
    assert "2 Event Files, 2 imported." in moved("files", "crm").out
    assert len(moved("files", "crm", "--movement", "1", "--json").objects) == 1


def test_files_of_a_vanished_destination_are_unknown(moved: CommandLine) -> None:
    Path("copy.db").unlink()
    assert [one["imported"] for one in moved("files", "crm", "--json").objects] == [None, None]
    outcome = moved("files", "crm")
    assert outcome.code == 0
    assert "unknown" in outcome.err
    assert not Path("copy.db").exists()


def test_files_of_an_unknown_movement_name_the_latest(moved: CommandLine) -> None:
    outcome = moved("files", "crm", "--movement", "9")
    assert outcome.code == 1
    assert "its latest is 2" in outcome.err


def test_show_prints_header_and_records(moved: CommandLine) -> None:
    out = moved("show", "2/people/incremental/0").out
    assert out.splitlines()[0] == "Event File 2/people/incremental/0 of Flow crm"
    assert out.splitlines()[-1] == "- id=3"
    assert moved("show", "1/people/full/0", "--limit", "1").out.splitlines()[-2:] == [
        '+ id=1, name="Person 1", age=1',
        "… and 9 more records",
    ]


def test_show_reads_paths_in_any_encoding(moved: CommandLine) -> None:
    lines = moved("show", "1/people/full/0", "--json").out.encode()
    Path("plain.jsonl").write_bytes(lines)
    Path("packed.gz").write_bytes(gzip.compress(lines))
    assert moved("show", "plain.jsonl", "--json").out.encode() == lines
    assert moved("show", "packed.gz", "--json").out.encode() == lines


def test_show_of_a_truncated_file_is_refused_by_name(moved: CommandLine) -> None:
    lines = moved("show", "1/people/full/0", "--json").out.encode()
    Path("cut.jsonl").write_bytes(lines[:-5])
    outcome = moved("show", "cut.jsonl")
    assert outcome.code == 1
    assert "cut.jsonl" in outcome.err
    assert "truncated" in outcome.err


def test_show_of_nothing_says_what_an_id_looks_like(moved: CommandLine) -> None:
    outcome = moved("show", "nothing")
    assert outcome.code == 2
    assert "movement/stream/phase/chunk" in outcome.err


def test_show_asks_which_flow_is_meant(moved: CommandLine) -> None:
    assert moved("move", "app.db", "other.db", "--flow", "second").code == 0
    outcome = moved("show", "1/people/full/0")
    assert outcome.code == 2
    assert "--flow" in outcome.err
    assert moved("show", "1/people/full/0", "--flow", "second").code == 0


@pytest.mark.parametrize(
    "content", [b"hello\n", b'{"a": 1}\n', b"[1, 2]\n", b"PK\x03\x04", b"", b"SQLite format 3\x00"]
)
def test_show_of_a_file_of_another_kind_says_that_it_is_no_event_file(moved: CommandLine, content: bytes) -> None:
    path = moved.directory / "foreign"
    path.write_bytes(content)
    outcome = moved("show", str(path))
    assert outcome.code == 1
    assert "is no Event File, or its header is damaged. `pipeline show` prints Event Files" in outcome.err


def test_show_of_another_stored_object_does_not_call_it_damaged(moved: CommandLine) -> None:
    outcome = moved("show", "flows/crm/flow.json")
    assert outcome.code == 2
    assert "is not the key of an Event File" in outcome.err
    assert "delete it" not in outcome.err


@pytest.mark.parametrize("command", ["log", "files", "history", "rerun"])
def test_a_movement_that_there_is_not_is_named(moved: CommandLine, command: str) -> None:
    unknown = moved(command, "crm", "--movement", "99")
    assert (unknown.code, "has no Movement 99; its latest is 2" in unknown.err) == (1, True)
    assert moved(command, "crm", "--movement", "0").code == 2
