"""Starts a server, waits until it answers, and ends it by its pid, whatever happens in between."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers.addresses import LOOPBACK

START_SECONDS = 60.0
"""Servers answer within 0.5 to 7 seconds on an idle machine; this is for one that is not."""

_TERMINATE_SECONDS = 5.0
_GUARD = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 9)"
"""Its standard input is a pipe from us, which ends when we do, however we do."""
_POLL_SECONDS = 0.05


class ServerNotAvailableError(Exception):
    """The server cannot be started here; the message says why."""


def free_ports(count: int) -> list[int]:
    """This many different ports on which nothing listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """A new directory with a short path (a Unix socket's has at most 107 bytes), removed with all it holds at the end."""
    with tempfile.TemporaryDirectory(prefix=f"pipeline-{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextmanager
def running(
    command: Sequence[str | Path], directory: Path, environment: Mapping[str, str], answers: Callable[[], bool]
) -> Iterator[int]:
    """The process id of `command`, which runs in `directory` and `answers`; it has ended when the block has.

    Raises ServerNotAvailableError with the end of its output when it ends early, or does not answer in time.
    """
    log = directory / "server.log"
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=_surroundings(directory) | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise ServerNotAvailableError(f"{command[0]} cannot be run: {error}") from error
    try:
        with _guarded(process.pid):
            _wait_until_it_answers(process, answers, log)
            yield process.pid
    finally:
        _end(process)


@contextmanager
def _guarded(process_id: int) -> Iterator[None]:
    """Within the block, the server is killed if this process is: a run of tests that is cut off leaves none behind."""
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(process_id)]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()


def responds(port: int, path: str) -> bool:
    """Whether a GET of `path` is answered with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _surroundings(directory: Path) -> dict[str, str]:
    """The environment without what would configure the server behind our back."""
    passed = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {name: os.environ[name] for name in passed if name in os.environ} | {"TMPDIR": str(directory)}


def _wait_until_it_answers(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None:
            raise ServerNotAvailableError(f"{process.args!r} ended with {process.returncode}:\n{_end_of(log)}")
        if time.monotonic() > deadline:
            raise ServerNotAvailableError(f"{process.args!r} did not answer in {START_SECONDS} s:\n{_end_of(log)}")
        time.sleep(_POLL_SECONDS)


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
