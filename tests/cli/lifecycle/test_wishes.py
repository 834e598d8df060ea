"""`pipeline pause`, `resume` and `stop`, with and without a `pipeline move` in another terminal."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.assembly.commands.lifecycle import wishes
from pipeline.assembly.runtime import limits, open_runtime
from pipeline.cli.commands.lifecycle.wished import next_of_day, print_wished
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.movement import Flow
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.ports.reporter import SilentReporter
from pipeline.settings import load_settings
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.cli.app import CommandLine, contents, make_database, process_environment

SLOW = {"PIPELINE_EVENT_FILE_ROWS": "40", "PIPELINE_PROGRESS_SECONDS": "0.2", "PIPELINE_IMPORT_IN_SUBPROCESS": "false"}
ROWS = 30_000


@pytest.fixture
def flow(pipeline: CommandLine) -> CommandLine:
    """A Flow `crm` with a Movement that no worker has taken up."""
    make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    assert pipeline("start", "crm").code == 0
    return pipeline


@pytest.fixture
def large(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A database that takes a while to move, in many small Event Files."""
    for name, value in SLOW.items():
        monkeypatch.setenv(name, value)
    make_database(pipeline.directory / "app.db", ROWS)
    return pipeline


def latest(pipeline: CommandLine) -> dict[str, Any]:
    flows: Any = pipeline("status", "--flow", "crm", "--json").objects[0]["flows"]
    movement: dict[str, Any] = flows[0]["movements"][-1]
    return movement


def events(pipeline: CommandLine) -> list[dict[str, Any]]:
    found: Any = pipeline("history", "crm", "--json").objects[0]["events"]
    return list(found)


def test_a_movement_is_paused_resumed_and_stopped(flow: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert latest(flow)["status"] == "READY"
    paused = flow("pause", "crm", "--reason", "night", "--until", "8h", "--json").objects[0]
    assert (paused["status"], paused["reason"]) == ("PAUSED", "paused")
    wish = paused["wish"]
    assert isinstance(wish, dict)
    assert (wish["want"], wish["why"]) == ("pause", "night")
    assert wish["who"]
    assert wish["when"] < wish["until"]
    shown = latest(flow)
    assert (shown["status"], shown["wish"], shown["sentence"]) == ("PAUSED", wish, paused["sentence"])
    assert "PAUSED" in flow("status").out
    assert flow("pause", "crm").code == 0
    resumed = flow("resume", "crm")
    assert "Movement 1 of Flow crm is READY." in resumed.out
    monkeypatch.setattr(wishes, "_LOOK_SECONDS", 3600.0)  # nothing is in hand, so it looks once and waits for nobody
    stopped = flow("stop", "crm", "--reason", "wrong source")
    assert "Movement 1 of Flow crm is CANCELLED." in stopped.out
    assert (latest(flow)["status"], latest(flow)["reason"]) == ("CANCELLED", "stopped")


def test_a_pause_with_no_worker_alive_is_told_of_at_once(flow: CommandLine) -> None:
    flow("pause", "crm")
    assert [one["type"] for one in events(flow)][-2:] == [
        "movement.pausing",
        "movement.paused",
    ]


def test_the_groups_that_people_pause_or_stop_are_named_also_while_all_is_paused(flow: CommandLine) -> None:
    flow("stop", "crm")
    assert flow("move", "--flow", "crm").code == 0
    flow("start", "crm")
    flow("pause", "crm", "--group", "people", "--reason", "busy app")
    flow("pause", "crm")
    shown = flow("status").out
    assert "PAUSED" in shown
    assert "Group people is to pause, by " in shown
    assert "because: busy app." in shown
    flow("resume", "crm")
    assert "Group people" not in flow("status").out
    told = [one for one in events(flow) if str(one["type"]).startswith("group.")]
    paused, resumed = told[-2:]
    assert (paused["type"], resumed["type"]) == ("group.paused", "group.resumed")
    assert paused["reasons"] == ["busy app"]


def test_an_illegal_verb_names_the_legal_ones_and_changes_nothing(flow: CommandLine) -> None:
    flow("stop", "crm")
    before = latest(flow)
    for verb in ("pause", "resume", "stop"):
        refused = flow(verb, "crm")
        assert refused.code == 2
        assert "Movement 1 of Flow 'crm' is CANCELLED, which is final" in refused.err
        assert "`pipeline start crm`" in refused.err
    assert latest(flow) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "nowhere"), "There is no Flow named 'nowhere'"),
        (("pause", "crm", "--group", "cars"), "Flow 'crm' has no group 'cars'"),
        (("pause", "crm", "--until", "tomorrow"), "'tomorrow' is no time. Write 2026-12-01T06:00, 06:00, or a length"),
        (("pause", "crm", "--until", "2020-01-01T00:00+00:00"), "2020-01-01 00:00:00 UTC has passed"),
        (("pause", "crm", "--until", "25:00"), "is no time"),
    ],
)
def test_wrong_input_is_one_clear_message(flow: CommandLine, arguments: tuple[str, ...], words: str) -> None:
    refused = flow(*arguments)
    assert refused.code in (1, 2)
    assert words in refused.err
    assert len(refused.err.strip().splitlines()) <= 5
    assert latest(flow)["status"] == "READY"


def test_a_flow_that_was_never_moved_has_nothing_to_pause(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    refused = pipeline("pause", "crm")
    assert (refused.code, "has no Movement yet: there is nothing to pause" in refused.err) == (2, True)


def test_a_move_of_a_paused_movement_is_refused_with_the_way_out(flow: CommandLine) -> None:
    flow("pause", "crm", "--reason", "night")
    refused = flow("move", "app.db", "copy.db", "--flow", "crm")
    assert refused.code == 1
    assert "is PAUSED" in refused.err
    assert "`pipeline resume crm`" in refused.err
    flow("resume", "crm")
    assert flow("move", "app.db", "copy.db", "--flow", "crm").code == 0


@contextmanager
def moving(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pipeline move` in a process of its own, which has imported something already."""
    command = [sys.executable, "-m", "pipeline", "move", "app.db", "copy.db", "--flow", "crm"]
    environment = process_environment() | SLOW
    process = subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: imported(directory) > 0)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def imported(directory: Path) -> int:
    try:
        return len(contents(directory / "copy.db"))
    except Exception:  # noqa: BLE001 - the table may not exist yet, or be locked
        return 0


@pytest.mark.slow
def test_a_move_in_another_terminal_pauses_and_goes_on(large: CommandLine) -> None:
    with moving(large.directory) as process:
        assert large("pause", "crm").code == 0
        until(lambda: latest(large)["status"] == "PAUSED")
        held = imported(large.directory)
        time.sleep(1.5)
        assert imported(large.directory) == held < ROWS
        assert process.poll() is None
        shown = latest(large)
        assert shown["records"]["upserts"] == held
        assert shown["event_files"]["exported"] >= shown["event_files"]["imported"] > 0
        assert shown["seconds"] > 1.5
        assert large("resume", "crm").code == 0
        assert process.wait(120) == 0
    assert contents(large.directory / "copy.db") == contents(large.directory / "app.db")


@pytest.mark.slow
def test_a_move_in_another_terminal_is_stopped_and_what_is_imported_stays(large: CommandLine) -> None:
    with moving(large.directory) as process:
        stopped = large("stop", "crm", "--json").objects[0]
        assert (stopped["status"], stopped["reason"]) == ("CANCELLED", "stopped")
        assert process.wait(120) == 1
    held, shown = imported(large.directory), latest(large)
    assert 0 < held < ROWS
    assert shown["records"] | {"upserts": held} == stopped["records"] == shown["records"]
    assert 0 < shown["event_files"]["imported"] <= shown["event_files"]["exported"]
    assert shown["seconds"] > 0
    events: Any = large("history", "crm", "--json").objects[-1]["events"]
    assert events[-1]["type"] == "movement.settled"
    assert events[-1]["data"]["records"]["upserts"] == held
    assert large("move", "app.db", "copy.db", "--flow", "crm").code == 0
    assert contents(large.directory / "copy.db") == contents(large.directory / "app.db")


@pytest.mark.slow
def test_a_frozen_move_does_not_hold_up_a_stop_and_commits_nothing_when_it_wakes_up(large: CommandLine) -> None:
    with moving(large.directory) as process:
        while True:  # frozen between two transactions: within one, SQLite's lock stays with the frozen process
            os.kill(process.pid, signal.SIGSTOP)
            if is_unlocked(large.directory / "copy.db"):
                break
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.05)
        assert large("stop", "crm", "--json").objects[0]["status"] == "CANCELLED"
        held = imported(large.directory)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(120) == 1
    assert imported(large.directory) == held < ROWS
    events: Any = large("history", "crm", "--json").objects[-1]["events"]
    assert [event["type"] for event in events if event["type"] == "file.failed"] == []
    assert events[-1]["data"]["records"]["upserts"] == held
    assert latest(large)["status"] == "CANCELLED"


def is_unlocked(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN EXCLUSIVE")  # a frozen reader would keep others from committing
        except sqlite3.OperationalError:
            return False
        db.execute("ROLLBACK")
    return True


@pytest.mark.slow
def test_a_killed_move_shows_that_nobody_works_on_it(large: CommandLine) -> None:
    with moving(large.directory) as process:
        process.kill()
    until(lambda: latest(large)["reason"] == "nobody_works")
    shown = latest(large)
    assert shown["status"] == "IN_PROGRESS"
    assert "Nobody works on it" in shown["sentence"]
    assert "Nobody works on it" in large("status").out
    assert large("move", "app.db", "copy.db", "--flow", "crm").code == 0
    assert json.dumps(contents(large.directory / "copy.db")) == json.dumps(contents(large.directory / "app.db"))


@pytest.mark.parametrize(
    "command",
    [("start",), ("pause",), ("resume",), ("stop",), ("rerun",), ("retry",), ("history",), ("flow", "remove")],
)
def test_a_flow_that_is_not_there_is_named_by_each_verb(flow: CommandLine, command: tuple[str, ...]) -> None:
    refused = flow(*command, "nosuch")
    assert refused.code != 0
    assert "There is no Flow named 'nosuch' here." in refused.err


def test_a_pause_that_is_over_is_none_for_any_command(flow: CommandLine) -> None:
    assert flow("pause", "crm", "--until", "1s").code == 0
    time.sleep(1.2)
    assert latest(flow)["status"] == "READY"
    for command in (("flow", "remove", "crm", "--yes"), ("retry", "crm"), ("start", "crm")):
        refused = flow(*command)
        assert refused.code != 0
        assert "Movement 1 of Flow 'crm' is READY" in refused.err


async def test_a_stop_does_not_wait_longer_for_a_fence_that_does_not_answer_and_says_so(
    flow: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(flags={"progress_seconds": 0.2})
    async with open_runtime(settings) as runtime:
        movement = await runtime.flows.read_movement(FlowName("crm"), 1)
        context = EngineContext(
            runtime.store, MemoryEventQueue(), runtime.clock, SilentReporter(), runtime.flows, limits(settings)
        )
        await ProgressKeeper(context, movement, "worker:killed").claim()
    await anyio.sleep(1)
    asked: list[int] = []

    async def fence(flow: Flow, number: int) -> bool:
        asked.append(number)
        await anyio.sleep_forever()
        return True

    monkeypatch.setattr(wishes, "fence_by", lambda connect: fence)
    with anyio.fail_after(60):
        wished = await wishes.stop("crm", wait_seconds=1.0, settings=settings)
    assert asked == [1]
    assert wished.state.status is Status.CANCELLATION_REQUESTED
    print_wished(wished, as_json=False)
    print_wished(wished, as_json=True)
    text, _, shown = capsys.readouterr().out.partition("{")
    assert (
        "It could not be fenced: its destination does not answer. Workers, or another `pipeline stop crm`, try" in text
    )
    assert json.loads("{" + shown)["unfenced"] == "its destination does not answer"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of this computer, in which clocks are set forward at 02:00 on 30 March 2036."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("until", "moment"),
    [
        ("2036-03-30T01:30", "2036-03-30T00:30:00+00:00"),
        ("2036-03-30T02:30", "2036-03-30T01:30:00+00:00"),
        ("2036-03-30T03:30", "2036-03-30T01:30:00+00:00"),
        ("2036-10-26T02:30", "2036-10-26T00:30:00+00:00"),
    ],
)
def test_a_pause_until_a_time_that_the_clocks_leave_out_does_not_end_early(
    flow: CommandLine, until: str, moment: str
) -> None:
    assert flow("pause", "crm", "--until", until).code == 0
    assert latest(flow)["wish"]["until"] == moment


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "moment"),
    [
        ("2036-10-26T00:10", "2036-10-26T00:30"),  # the first 02:30 is to come
        ("2036-10-26T00:40", "2036-10-26T01:30"),  # the second one
        ("2036-10-26T01:10", "2036-10-26T01:30"),
        ("2036-10-26T01:30", "2036-10-27T01:30"),
        ("2036-03-29T12:00", "2036-03-30T01:30"),  # it is left out then
    ],
)
def test_a_time_of_day_that_comes_twice_is_the_next_one(now: str, moment: str) -> None:
    found = next_of_day("2:30", datetime.fromisoformat(f"{now}+00:00"))
    assert found == datetime.fromisoformat(f"{moment}+00:00")
