"""The command itself: one message for what goes wrong, and an exit code that says which."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pipeline.cli.main
from pipeline.cli.output.error_output import InterruptedBySignalError, print_error
from pipeline.domain.errors import ConfigurationError, DamagedError, DefectError, RefusedError, TransientError
from tests.cli.app import CommandLine, contents, make_database, process_environment, run_process


def test_every_command_is_in_the_help_and_has_its_own(pipeline: CommandLine) -> None:
    text = pipeline("--help").out
    for name in ("move", "status", "files", "show", "demo"):
        assert re.search(rf"^  {name} ", text, re.MULTILINE)
        assert pipeline(name, "--help").code == 0


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = run_process("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("pipeline, version ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["move"], ["move", "a"], ["move", "a", "b", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(pipeline: CommandLine, arguments: list[str]) -> None:
    outcome = pipeline(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Error: " in outcome.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("no such place"), 2),
        (TransientError("locked"), 1),
        (RefusedError("read-only"), 1),
        (DamagedError("altered"), 1),
    ],
)
def test_what_was_foreseen_is_one_line(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_error(error, debug=False) == code
    assert capsys.readouterr().err == f"pipeline: {error}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "--flow", "nobody", "--json"], 2, "nothing has been moved from here yet"),
        (["move", "absent.db", "copy.db", "--json"], 2, "absent.db"),
        (["move", "absent.db", "--json"], 2, "Missing argument"),
    ],
)
def test_a_command_that_fails_ends_with_json_if_asked_for(
    arguments: list[str], code: int, words: str, pipeline: CommandLine
) -> None:
    outcome = pipeline(*arguments)
    assert outcome.code == code
    assert words in str(outcome.objects[-1]["error"])
    assert outcome.err


def test_each_message_of_an_exception_group_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup(
        "", [TransientError("one"), ExceptionGroup("", [TransientError("one"), RefusedError("two")])]
    )
    assert print_error(group, debug=False) == 1
    assert capsys.readouterr().err == "pipeline: one\npipeline: two\n"


@pytest.mark.parametrize("error", [DefectError("a rule was broken"), KeyError("what")])
def test_a_defect_asks_for_a_report(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_error(error, debug=False) == 1
    printed = capsys.readouterr().err
    assert "--debug" in printed
    assert "report" in printed
    assert "Traceback" not in printed


def test_debug_shows_where(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr("pipeline.cli.commands.inspection.status.run_async", broken)
    assert "Traceback" not in pipeline("status").err
    assert "Traceback" in pipeline("status", "--debug").err


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(RefusedError("table \x1b[2J\x07 is read-only"), debug=False)
    assert "\x1b" not in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_defect(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", rows=20_000)
    assert run_process("move", "app.db", "copy.db", cwd=tmp_path).returncode == 0
    shell = f"{sys.executable} -m pipeline show 1/people/full/0 | head -1"
    done = subprocess.run(
        shell,
        shell=True,
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.startswith("Event File 1/people/full/0")
    assert done.stderr == ""


@pytest.mark.slow
def test_an_interrupt_is_130_and_the_same_command_carries_on(tmp_path: Path) -> None:
    source = make_database(tmp_path / "app.db", rows=100_000)
    (tmp_path / "small.toml").write_text("event_file_rows = 500\n")
    command = ["move", "app.db", "copy.db", "--config", "small.toml"]
    running = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        cwd=tmp_path,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob(".pipeline/**/events/**/*.zst")):
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, printed = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "carries on" in printed
    assert "Traceback" not in printed
    assert run_process(*command, cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "copy.db") == contents(source)


def test_the_table_of_commands_names_what_exists() -> None:
    rooms = Path(pipeline.cli.main.__file__).parent / "commands"
    assert set(pipeline.cli.main.COMMANDS) <= {path.stem for path in rooms.rglob("*.py")}


def test_an_interrupt_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_error(ExceptionGroup("", [InterruptedBySignalError()]), debug=False) == 130
    assert "carries on" in capsys.readouterr().err
