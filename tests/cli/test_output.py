"""What a command does when its standard output takes nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.cli.app import make_database, process_environment

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_output_that_cannot_be_written_is_one_message(tmp_path: Path, options: tuple[str, ...]) -> None:
    make_database(tmp_path / "app.db")
    command = [sys.executable, "-m", "pipeline", "move", "app.db", "copy.db", *options]
    with FULL.open("w") as output:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=process_environment(),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "pipeline: Standard output cannot be written: No space left on device. Make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_a_closed_output_hinders_nothing(tmp_path: Path) -> None:
    make_database(tmp_path / "app.db")
    command = f"{sys.executable} -m pipeline move app.db copy.db --json >&-"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_an_error_of_another_file_leaves_the_output_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some file")

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run(["flow", "list", "--json"]) == 1
    (line,) = capfd.readouterr().out.splitlines()
    assert os.strerror(number) in json.loads(line)["error"]
