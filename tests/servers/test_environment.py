"""Virtual environments of servers: created once for all processes, and again when pins change or creation was interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import localstack.environment
from localstack.environment import ROOT, EnvironmentNotMadeError, environment

ASK = (
    "import sys, pathlib, localstack.environment as it;"
    "it.ROOT = pathlib.Path(sys.argv[1]); it.environment('asked', pathlib.Path(sys.argv[2]))"
)


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return empty pins; environments are created beside them."""
    monkeypatch.setattr(localstack.environment, "ROOT", tmp_path)
    path = tmp_path / "pins.txt"
    path.write_text("# nothing\n")
    return path


@pytest.mark.slow
def test_one_of_many_processes_creates_it_and_other_pins_create_it_again(
    pins: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", ASK, str(pins.parent), str(pins)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert capfd.readouterr().err.count("creating the environment .venv-asked") == 1

    stale = environment("asked", pins).parent / "left by an interrupted run"
    assert capfd.readouterr().err == ""
    stale.touch()
    pins.write_text("this is no requirement\n")
    with pytest.raises(EnvironmentNotMadeError, match=r"(?s)\.venv-asked cannot be created.*Invalid requirement"):
        environment("asked", pins)
    assert not stale.exists()


def test_a_missing_python_is_named(pins: Path) -> None:
    with pytest.raises(EnvironmentNotMadeError, match=r"asked needs Python 3\.99: install it"):
        environment("asked", pins, python="3.99")
    assert not (pins.parent / ".venv-asked").exists()
