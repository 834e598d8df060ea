"""`pipeline history`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from pipeline.cli.main import run
from pipeline.cli.output.timeline import timeline_lines
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.wish import Want, Wish
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import due_of, told


@pytest.fixture(autouse=True)
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Flow with two Movements, in the current directory."""
    import sqlite3

    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("app.db") as db:
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute("INSERT INTO users VALUES (1, 'Ada')")
    assert [run(["move", "app.db", "copy.db", "--flow", "crm"]) for _ in range(2)] == [0, 0]


def test_the_timeline_names_each_movement_and_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["history", "crm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Movement")] == ["Movement 1", "Movement 2"]
    types = [line.split()[3] for line in lines if " UTC " in line]
    assert types == [
        "movement.started",
        "group.exported",
        "group.imported",
        "movement.settled",
        "movement.started",
        "movement.settled",
    ]
    assert "SUCCESS" in lines[4]


def test_json_has_all_members_of_one_movement(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["history", "crm", "--movement", "1", "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["flow"], found["unknown"], len(found["events"])) == ("crm", 0, 4)
    members = {"id", "type", "flow", "movement", "time", "subject", "data", "reasons"}
    assert all(event.keys() == members for event in found["events"])
    assert {event["movement"] for event in found["events"]} == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["history", "other"], "There is no Flow named 'other'"),
        (["history", "crm", "--movement", "9"], "its latest is 2"),
    ],
)
def test_what_does_not_exist_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_pause_is_told_with_times_that_people_read() -> None:
    said, until = datetime(2026, 3, 1, 2, 0, 5, 123456, tzinfo=UTC), datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
    wish = Wish(Want.PAUSE, "ann@ops", said, "night", until)
    movement = Movement(FlowName("crm"), 1, said, said)
    paused = replace(movement, wish=wish, group_wishes={Label("people"): wish})
    lines = list(timeline_lines(told(replace(paused, due=due_of(movement, paused)))))
    assert lines == [
        "Movement 1",
        "  2026-03-01 02:00:05 UTC  movement.pausing        who ann@ops, until 2026-03-01 06:00:00 UTC",
        "      night",
        "  2026-03-01 02:00:05 UTC  group.paused            people who ann@ops, until 2026-03-01 06:00:00 UTC",
        "      night",
    ]
