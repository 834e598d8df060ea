"""`pipeline flow`: places connected, destinations added, and brought up to date without the source."""

from __future__ import annotations

from pathlib import Path

from tests.cli.app import CommandLine, change, contents, make_database


def test_create_connects_and_moves_nothing(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    outcome = pipeline("flow", "create", "crm", "app.db", "copy.db", "--json")
    assert outcome.code == 0
    (created,) = outcome.objects
    assert (created["flow"], created["shares"]) == ("crm", None)
    assert not Path("copy.db").exists()
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    assert pipeline("flow", "create", "crm", "app.db", "other.db").code == 2
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0


def test_a_further_destination_needs_no_source(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    change(source, "DELETE FROM people WHERE id < 10")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    people = contents(source)
    source.unlink()
    assert pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup").code == 0
    outcome = pipeline("flow", "import", "backup", "--json")
    assert outcome.code == 0
    assert outcome.objects[-1]["event_files"] == {"exported": 0, "imported": 2, "skipped": 0, "failed": 0}
    assert contents(pipeline.directory / "backup.db") == people
    assert pipeline("flow", "import", "backup", "--json").objects[-1]["event_files"] == {
        "exported": 0,
        "imported": 0,
        "skipped": 2,
        "failed": 0,
    }
    assert "It imports what Flow crm has stored." in pipeline("status", "--flow", "backup").out


def test_a_move_brings_further_destinations_up_to_date(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    change(source, "UPDATE people SET age = 1 WHERE id = 1")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json")
    assert outcome.code == 0
    assert [line["flow"] for line in outcome.objects if "status" in line] == ["backup", "crm"]
    assert contents(pipeline.directory / "backup.db") == contents(pipeline.directory / "copy.db") == contents(source)
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm")
    assert "Flow backup" not in outcome.out


def test_each_destination_settles_for_itself_and_the_worst_exit_code_counts(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    make_database(pipeline.directory / "backup.db", rows=0)
    change(pipeline.directory / "backup.db", "CREATE UNIQUE INDEX one_age ON people(age)")
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json")
    assert outcome.code == 1
    assert [line["status"] for line in outcome.objects if "status" in line] == ["INCOMPLETE", "SUCCESS"]


def test_a_destination_out_of_reach_does_not_keep_others_from_theirs(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("flow", "add-destination", "crm", "a.db", "--name", "a")
    pipeline("flow", "add-destination", "crm", "b.db", "--name", "b")
    Path("a.db").write_bytes(b"not a database, whatever its name says")
    outcome = pipeline("move", "app.db", "copy.db", "--flow", "crm")
    assert (outcome.code, "Flow a: " in outcome.err) == (1, True)
    assert contents(pipeline.directory / "b.db") == contents(source)


def test_files_go_along_to_a_further_destination(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    Path("in").mkdir()
    Path("in/a.txt").write_text("content")
    pipeline("move", "app.db", "copy.db", "--files", "in", "out", "--flow", "crm")
    outcome = pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    assert outcome.code == 2
    assert "--files" in outcome.err
    assert pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup", "--files", "more").code == 0
    assert pipeline("flow", "import", "backup").code == 0
    assert Path("more/a.txt").read_text() == "content"


def test_what_cannot_be_is_the_users_mistake(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    for arguments, words in [
        (("flow", "import", "crm"), "pipeline move"),
        (("flow", "add-destination", "crm", "copy.db"), "already"),
        (("flow", "add-destination", "crm", "app.db"), "source and destination at once"),
        (("flow", "add-destination", "crm", "x.db", "--files", "y"), "leave out --files"),
    ]:
        outcome = pipeline(*arguments)
        assert (outcome.code, words in outcome.err) == (2, True), outcome.err
    assert pipeline("flow", "add-destination", "unknown", "x.db").code == 1
    assert pipeline("flow", "import", "unknown").code == 1
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    outcome = pipeline("move", "app.db", "backup.db", "--flow", "backup")
    assert (outcome.code, "pipeline flow import backup" in outcome.err) == (2, True)


def test_starting_a_derived_flow_announces_its_groups(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    outcome = pipeline("start", "backup", "--json")
    assert outcome.code == 0
    assert (outcome.objects[-1]["flow"], outcome.objects[-1]["status"]) == ("backup", "IN_PROGRESS")
    assert pipeline("flow", "import", "backup", "--json").objects[-1]["movement"] == 1
