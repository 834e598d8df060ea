"""Runs LocalStack without Docker in the background, finds it by its pid file, and ends it.

The process locks the pid file as long as it lives. So a stale file is recognised, and a later process with the same
number is never mistaken for LocalStack.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

from localstack.environment import ROOT, environment

_HERE = ROOT / "localstack"
_TERMINATE_SECONDS = 15.0
_POLL_SECONDS = 0.1


def command(place: Path, port: int) -> list[str]:
    """Return the command that runs LocalStack in the foreground, with its files in `place`; create its environment."""
    python = environment("localstack", _HERE / "requirements.txt", python="3.11") / "python"
    launcher = _HERE / "run_without_docker.py"
    options = ["--port", str(port), "--directory", str(place / "data"), "--pid-file", str(pid_file(place))]
    return [str(python), "-P", str(launcher), *options]


def start(place: Path, port: int) -> subprocess.Popen[bytes]:
    """Start it in its own session, so that closing the terminal does not end it. Its output goes to the log file."""
    with log_file(place).open("wb") as log:
        return subprocess.Popen(
            command(place, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(place: Path) -> bool:
    """End it with SIGTERM, later with SIGKILL. Return whether it was running."""
    process_id = running_process_id(place)
    if process_id is None:
        return False
    os.kill(process_id, signal.SIGTERM)
    deadline = time.monotonic() + _TERMINATE_SECONDS
    while running_process_id(place) == process_id:
        if time.monotonic() > deadline:
            os.kill(process_id, signal.SIGKILL)
            deadline += _TERMINATE_SECONDS
        time.sleep(_POLL_SECONDS)
    return True


def running_process_id(place: Path) -> int | None:
    """Return its pid, or None if it does not run."""
    try:
        with pid_file(place).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0) or None
    except FileNotFoundError:
        pass
    return None


def pid_file(place: Path) -> Path:
    """The pid file, which the process itself writes and locks."""
    return place / "pid"


def log_file(place: Path) -> Path:
    """Its output since its last start."""
    return place / "localstack.log"
