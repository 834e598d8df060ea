"""The helper subprocess of a Movement: it may be killed, or survive a killed Movement for a moment."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from tests.cli.app import make_database, process_environment

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find a process's children")

ROWS = 200_000
PATIENCE_SECONDS = 60.0


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Start a Movement of many small Event Files."""
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "move", "app.db", "copy.db", "--json"],
            cwd=directory,
            env=process_environment() | {"PIPELINE_EVENT_FILE_BYTES": "20000", "PIPELINE_LOG_LEVEL": "info"},
            stdout=subprocess.PIPE,
            stderr=log,
        )


def helper_of(process: subprocess.Popen[bytes]) -> int | None:
    """Wait until a child imports; return its process id."""
    assert process.poll() is None, "it has ended already"
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if b"imports Flow" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def await_true(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def imported(directory: Path) -> int:
    """How many rows have arrived."""
    if not (directory / "copy.db").exists():
        return 0
    with closing(sqlite3.connect(directory / "copy.db", timeout=30)) as db:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'people'").fetchone()
        return int(db.execute("SELECT count(*) FROM people").fetchone()[0]) if tables else 0


def ensure_equal(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "copy.db")) as db:
        db.execute("ATTACH ? AS app", (str(directory / "app.db"),))
        differing = "SELECT count(*) FROM (SELECT * FROM {} EXCEPT SELECT * FROM {})"
        assert db.execute(differing.format("app.people", "main.people")).fetchone() == (0,)
        assert db.execute(differing.format("main.people", "app.people")).fetchone() == (0,)


def is_gone(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True


def test_a_movement_completes_when_its_helper_is_killed(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", ROWS)
    with start(tmp_path) as process:
        await_true(lambda: helper_of(process) is not None and imported(tmp_path))
        helper = helper_of(process)
        assert helper is not None
        os.kill(helper, signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    summary = orjson.loads(output.splitlines()[-1])
    assert (summary["status"], summary["records"]["upserts"]) == ("SUCCESS", ROWS)
    assert b"helper_failed" in (tmp_path / "log").read_bytes()
    ensure_equal(tmp_path)


def test_the_helper_of_a_killed_movement_ends_and_the_movement_is_resumed(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", ROWS)
    with start(tmp_path) as process:
        await_true(lambda: helper_of(process) is not None and imported(tmp_path))
        helper = helper_of(process)
        assert helper is not None
        os.kill(process.pid, signal.SIGKILL)
    await_true(lambda: is_gone(helper))
    with start(tmp_path) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    summary = orjson.loads(output.splitlines()[-1])
    assert (summary["movement"], summary["status"]) == (1, "SUCCESS")
    assert summary["records"]["upserts"] == ROWS
    ensure_equal(tmp_path)


def test_an_interrupted_movement_ends_with_its_helper(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", ROWS)
    with start(tmp_path) as process:
        await_true(lambda: helper_of(process) is not None and imported(tmp_path))
        helper = helper_of(process)
        assert helper is not None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    await_true(lambda: is_gone(helper))
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
