"""`pipeline compact`: the history of a Flow becomes a snapshot, and every destination still gets everything."""

from __future__ import annotations

from tests.cli.app import CommandLine, change, contents, make_database


def moved_often(pipeline: CommandLine, times: int = 3) -> None:
    source = make_database(pipeline.directory / "app.db")
    for number in range(1, times + 1):
        change(source, f"UPDATE people SET age = {number} WHERE id > 50")
        change(source, f"DELETE FROM people WHERE id = {number}")
        assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0


def test_a_new_destination_imports_each_row_once(pipeline: CommandLine) -> None:
    moved_often(pipeline)
    outcome = pipeline("compact", "crm", "--json")
    assert outcome.code == 0
    (result,) = outcome.objects
    assert (result["movement"], result["left"]) == (4, [])
    streams = result["streams"]
    assert isinstance(streams, list)
    assert [stream["before"]["records"] for stream in streams] == [99 + 51 + 51]
    assert [stream["after"]["records"] for stream in streams] == [97 + 2]
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    imported = pipeline("flow", "import", "backup", "--json").objects[-1]
    assert imported["records"] == {"upserts": 97, "deletes": 2, "quarantined": 0}
    assert contents(pipeline.directory / "backup.db") == contents(pipeline.directory / "app.db")


def test_a_destination_that_has_it_all_passes_it_over(pipeline: CommandLine) -> None:
    moved_often(pipeline)
    assert "1 stream compacted, as Movement 4." in pipeline("compact", "crm").out
    assert "2 Event Files, 0 imported, 2 passed over." in pipeline("files", "crm").out
    last = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]
    assert (last["movement"], last["status"], last["event_files"]) == (
        5,
        "SUCCESS",
        {"exported": 0, "imported": 0, "skipped": 1, "failed": 0},
    )
    change(pipeline.directory / "app.db", "UPDATE people SET age = 77 WHERE id = 7")
    last = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]
    assert last["records"] == {"upserts": 1, "deletes": 0, "quarantined": 0}
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")


def test_there_may_be_nothing_to_compact(pipeline: CommandLine) -> None:
    moved_often(pipeline, 1)
    outcome = pipeline("compact", "crm")
    assert (outcome.code, "nothing to compact" in outcome.out) == (0, True)
    again = pipeline("compact", "crm", "--stream", "x*", "--json").objects[-1]
    assert again["movement"] is None


def test_a_flow_without_movements_cannot_be_compacted(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    assert pipeline("compact", "crm").code == 2
    assert pipeline("compact", "unknown").code == 1
