"""`pipeline start`: choices of a Movement that has not settled, and waiting without workers."""

from __future__ import annotations

import pytest

from tests.cli.app import CommandLine, make_database


@pytest.fixture
def flow(pipeline: CommandLine) -> CommandLine:
    """A Flow `crm` that has not been moved. There is no worker."""
    make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    return pipeline


def test_other_choices_on_a_movement_that_has_not_settled_are_refused(flow: CommandLine) -> None:
    assert flow("start", "crm", "--only", "people").code == 0
    refused = flow("start", "crm", "--exclude", "logs")
    assert refused.code == 2
    assert "started with --only people, not with --exclude logs" in refused.err
    assert "--restart" in refused.err
    again = flow("start", "crm")
    assert again.out == "Movement 1 of Flow crm has not settled, and is announced again with --only people.\n"
    assert flow("start", "crm", "--only", "people").code == 0


def test_a_restart_cancels_the_movement_and_takes_the_new_choices(flow: CommandLine) -> None:
    flow("start", "crm")
    assert flow("start", "crm", "--exclude", "logs", "--restart").out == "Movement 2 of Flow crm is announced.\n"
    shown = flow("status").out
    assert shown.index("CANCELLED") < shown.index("READY")


def test_choices_for_a_derived_flow_are_refused(flow: CommandLine) -> None:
    assert flow("move", "app.db", "copy.db", "--flow", "crm").code == 0
    flow("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    refused = flow("start", "backup", "--only", "people")
    assert (refused.code, "when you start 'crm'" in refused.err) == (2, True)


def test_waiting_without_workers_says_so_and_ends(flow: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.assembly.commands.workers.SILENT_SECONDS", 0.1)
    monkeypatch.setenv("PIPELINE_IDLE_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("PIPELINE_PROGRESS_SECONDS", "0.1")
    waited = flow("start", "crm", "--wait")
    assert waited.code == 1
    assert "no_worker_at_work" in waited.err
    assert "No worker has done anything for Movement 1 of Flow 'crm'" in waited.err
