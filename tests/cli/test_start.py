"""`pipeline start`: choices of a Movement that has not settled, and waiting without workers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from pipeline.assembly.runtime import open_runtime
from pipeline.codec.documents.progress import Progress, encode_progress
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.wish import Want, Wish
from pipeline.ports.object_store import PutCondition
from pipeline.settings import load_settings
from tests.cli.app import CommandLine, make_database, process_environment


@pytest.fixture
def flow(pipeline: CommandLine) -> CommandLine:
    """A Flow `crm` that has not been moved. There is no worker."""
    make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    return pipeline


@pytest.mark.parametrize(
    ("attempts", "want", "status", "legal"),
    [
        (0, Want.RUN, "READY", ["pause crm", "resume crm", "stop crm", "start crm --queue"]),
        (1, Want.RUN, "IN_PROGRESS", ["pause crm", "resume crm", "stop crm", "start crm --queue"]),
        (1, Want.PAUSE, "PAUSED", ["pause crm", "resume crm", "stop crm", "start crm --queue"]),
        (1, Want.STOP, "CANCELLATION_REQUESTED", ["stop crm", "start crm --queue"]),
    ],
)
def test_a_start_beside_a_movement_that_has_not_settled_is_refused(
    flow: CommandLine, attempts: int, want: Want, status: str, legal: list[str]
) -> None:
    assert flow("start", "crm", "--only", "people").code == 0

    async def change() -> None:
        async with open_runtime(load_settings()) as runtime:
            await runtime.flows.update(
                FlowName("crm"), 1, lambda now: replace(now, attempts=attempts, wish=Wish(want, "ann"))
            )

    anyio.run(change)
    refused = flow("start", "crm")
    commands = ", ".join(f"`pipeline {one}`" for one in legal)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith(
        f"Movement 1 of Flow 'crm' is {status}: no other one is started before it has settled. You can use {commands}.\n"
    )
    assert [one["movement"] for one in flow_object(flow)["movements"]] == [1]


def test_a_restart_cancels_the_movement_and_takes_the_new_choices(flow: CommandLine) -> None:
    flow("start", "crm")
    assert flow("start", "crm", "--exclude", "logs", "--restart").out == "Movement 2 of Flow crm is announced.\n"
    shown = flow("status").out
    assert shown.index("CANCELLED") < shown.index("READY")


def test_a_start_is_queued_shown_and_taken_back(flow: CommandLine) -> None:
    flow("start", "crm")
    queued = flow("start", "crm", "--queue", "--exclude", "logs")
    assert queued.out == (
        "Movement 1 of Flow crm has not settled. The new one begins once it has; `pipeline stop crm` takes it back.\n"
    )
    assert "with --exclude logs" in flow("status").out
    assert queued_of(flow)["exclude"] == ["logs"]
    assert "A start is queued since" in flow("start", "crm", "--queue").err
    stopped = flow("stop", "crm")
    assert "The queued start is taken back.\nMovement 1 of Flow crm is CANCELLED." in stopped.out
    assert queued_of(flow) is None
    assert "A start is queued" not in flow("status").out
    assert flow("start", "crm", "--queue").out == "Movement 2 of Flow crm is announced.\n"
    assert flow("start", "crm", "--queue", "--restart").code == 2


def test_a_restart_fences_a_worker_that_is_gone(flow: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROGRESS_SECONDS", "0.1")
    flow("start", "crm")
    leave_claimed(flow)
    time.sleep(0.4)
    assert flow("start", "crm", "--restart").out == "Movement 2 of Flow crm is announced.\n"
    with sqlite3.connect(flow.directory / "copy.db") as db:
        assert db.execute("SELECT movement FROM _pipeline_fences").fetchall() == [(1,)]
    events: Any = flow("history", "crm", "--movement", "1", "--json").objects[-1]["events"]
    assert (events[-1]["data"]["status"], events[-1]["data"]["reason"]) == ("CANCELLED", "restarted")


def test_an_export_worker_alone_times_a_movement_out_and_fences_a_worker_that_is_gone(flow: CommandLine) -> None:
    flow("start", "crm")
    leave_claimed(flow)
    quick = {"PIPELINE_SWEEP_SECONDS": "0.2", "PIPELINE_PROGRESS_SECONDS": "0.2", "PIPELINE_IDLE_TIMEOUT_SECONDS": "1"}
    command = [sys.executable, "-m", "pipeline", "worker", "export"]
    given = {name: os.environ[name] for name in os.environ if name.startswith("PIPELINE")}
    environment = process_environment() | given | quick
    worker = subprocess.Popen(command, cwd=flow.directory, env=environment, stderr=subprocess.DEVNULL)
    try:
        while "TIMED_OUT" not in flow("status").out:
            assert worker.poll() is None
            time.sleep(0.2)
    finally:
        worker.terminate()
        worker.wait()
    events: Any = flow("history", "crm", "--movement", "1", "--json").objects[-1]["events"]
    assert (events[-1]["data"]["status"], events[-1]["data"]["reason"]) == ("TIMED_OUT", "no_progress")
    assert events[-1]["data"]["files"]["exported"] > 0
    with sqlite3.connect(flow.directory / "copy.db") as db:
        assert db.execute("SELECT movement FROM _pipeline_fences").fetchall() == [(1,)]


def test_a_restart_waits_for_a_worker_that_has_something_in_hand(
    flow: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.assembly.commands.lifecycle.starts.STOP_SECONDS", 0.1)
    flow("start", "crm")
    leave_claimed(flow)
    restarted = flow("start", "crm", "--restart")
    assert "Movement 1 of Flow crm has not settled. The new one begins once it has" in restarted.out
    shown = flow("status").out
    assert "CANCELLATION_REQUESTED" in shown
    assert "A start is queued since" in shown


def flow_object(flow: CommandLine) -> Any:
    document: Any = flow("status", "--json").objects[0]
    return document["flows"][0]


def queued_of(flow: CommandLine) -> Any:
    return flow_object(flow)["queued"]


def leave_claimed(flow: CommandLine) -> None:
    """Leave the Movement as a worker does that dies while it imports."""
    now = datetime.now(UTC)
    progress = Progress("w", now, now, working=True, in_hand=1)
    key = object_keys.progress_key(FlowName("crm"), 1, "w")

    async def put() -> None:
        async with open_runtime(load_settings()) as runtime:
            await runtime.store.put(key, encode_progress(progress), PutCondition.NONE)

    anyio.run(put)


def test_waiting_for_a_queued_start_waits_for_both_movements(
    flow: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SWEEP_SECONDS", "0.2")
    monkeypatch.setenv("PIPELINE_PROGRESS_SECONDS", "0.1")
    flow("start", "crm")
    command = [sys.executable, "-m", "pipeline", "worker", "all"]
    environment = process_environment() | {name: os.environ[name] for name in os.environ if name.startswith("PIPELINE")}
    worker = subprocess.Popen(command, cwd=flow.directory, env=environment, stderr=subprocess.DEVNULL)
    try:
        waited = flow("start", "crm", "--queue", "--wait", "--exclude", "none")
    finally:
        worker.terminate()
        worker.wait()
    assert waited.code == 0
    said = waited.out.splitlines()
    assert said[-1] == "Movement 2 of Flow crm has settled: SUCCESS."
    assert queued_of(flow) is None


def test_a_derived_flow_is_started_once_its_movement_has_settled(flow: CommandLine) -> None:
    assert flow("move", "app.db", "copy.db", "--flow", "crm").code == 0
    flow("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    assert flow("start", "backup").code == 0
    refused = flow("start", "backup")
    assert (refused.code, "is IN_PROGRESS: no other one" in refused.err) == (2, True)


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
