"""`pipeline rerun` and `pipeline reload`."""

from __future__ import annotations

import pytest

from tests.cli.app import CommandLine, change, contents, make_database


@pytest.fixture
def incomplete(pipeline: CommandLine) -> CommandLine:
    """A Flow whose Movement left the records that a check of the destination rejects."""
    make_database(pipeline.directory / "app.db")
    change(
        pipeline.directory / "copy.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER CHECK (age < 80))",
    )
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 1
    return pipeline


@pytest.fixture
def paused(pipeline: CommandLine) -> CommandLine:
    """A Flow whose first Movement is paused before anything was moved."""
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    pipeline("start", "crm")
    pipeline("pause", "crm")
    return pipeline


def test_a_rerun_says_what_is_missing_and_runs_here(incomplete: CommandLine) -> None:
    again = incomplete("rerun", "crm", "--json")
    assert "Movement 1 of Flow crm is INCOMPLETE: 1 of 1 Event Files are imported, 0 to do." in again.err
    last = again.objects[-1]
    assert (again.code, last["movement"], last["original_movement"], last["status"]) == (1, 2, 1, "INCOMPLETE")
    assert incomplete("rerun", "crm", "--json").objects[-1]["original_movement"] == 1


def test_a_rerun_of_a_movement_that_workers_ran_is_announced_to_workers(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    pipeline("start", "crm")
    pipeline("stop", "crm")
    again = pipeline("rerun", "crm")
    assert (again.code, again.out) == (0, "Movement 2 of Flow crm is announced to workers.\n")
    assert "0 of 0 Event Files are imported, 0 to do" in again.err
    refused = pipeline("rerun", "crm")
    assert (refused.code, "Movement 2 of Flow 'crm' is READY: it cannot be run again" in refused.err) == (2, True)
    assert pipeline("move", "--flow", "crm").code == 0
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")


def test_a_rerun_of_a_success_is_refused_with_what_is_meant(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    refused = pipeline("rerun", "crm")
    assert refused.code == 2
    assert "`pipeline start crm`" in refused.err
    assert "`pipeline reload crm STREAM`" in refused.err


def test_a_reload_moves_a_stream_as_a_whole(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    change(pipeline.directory / "copy.db", "UPDATE people SET name = 'changed by hand'")
    done = pipeline("reload", "crm", "people", "--json")
    assert (done.code, done.objects[-1]["records"]) == (0, {"upserts": 100, "deletes": 0, "quarantined": 0})
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")
    refused = pipeline("reload", "crm", "cars")
    assert (refused.code, "It has moved 'people'" in refused.err) == (2, True)


def test_no_verb_is_offered_that_would_be_refused(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    assert pipeline("flow", "set", "crm", "windows.reruns=false", "--yes").code == 0
    pipeline("start", "crm")
    stopped = pipeline("stop", "crm")
    assert "`pipeline start crm` moves what is missing" in stopped.out
    refused = pipeline("pause", "crm")
    assert refused.code == 2
    assert "rerun" not in stopped.out + refused.err + pipeline("status").out
    assert "retry" not in refused.err
    assert "You can use `pipeline start crm`." in refused.err
    assert pipeline("rerun", "crm").code == 2
    none = pipeline("retry", "crm")
    assert none.code == 2
    assert "`pipeline start crm` moves what Movement 1 left" in none.err


def test_a_rerun_is_not_said_to_be_carried_on(incomplete: CommandLine) -> None:
    again = incomplete("rerun", "crm")
    assert "Flow crm, Movement 2\n" in again.out


def test_a_paused_movement_without_rejected_records_offers_no_retry_and_no_start(paused: CommandLine) -> None:
    assert "retry" not in paused("start", "crm").err
    refused = paused("retry", "crm")
    assert (refused.code, "start" in refused.err) == (2, False)
    assert "there is nothing to retry. `pipeline resume crm` goes on with Movement 1." in refused.err


def test_what_a_paused_movement_hinders_says_how_to_go_on(paused: CommandLine) -> None:
    for command in ("compact", "prune"):
        refused = paused(command, "crm")
        assert refused.code == 2
        assert "Resume it with `pipeline resume crm`, or stop it with `pipeline stop crm`; then" in refused.err
