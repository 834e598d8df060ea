"""Starts a server, waits until it answers, and always ends it, by its pid."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.servers.addresses import LOOPBACK

START_SECONDS = 60.0
"""Servers answer within 0.5 to 7 seconds on an idle machine; a busy one needs more."""

_TERMINATE_SECONDS = 5.0
_GUARD = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 9)"
"""Its standard input is a pipe from this process; the pipe ends when this process does."""
_POLL_SECONDS = 0.05


class ServerNotAvailableError(Exception):
    """The server cannot be started here; the message says why."""


def free_ports(count: int) -> list[int]:
    """Return this many different ports that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """Yield a new directory, removed at the end. Its path is short: that of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix=f"pipeline-{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextmanager
def running(
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str],
    answers: Callable[[], bool],
    *,
    end_by_kill: bool = False,
) -> Iterator[int]:
    """Run `command` in `directory`; yield its process id once it `answers`. It has ended when the block has.

    `end_by_kill`: end it with SIGKILL at once, without a chance to shut down.

    Raises ServerNotAvailableError with the end of its output if it ends early or does not answer in time.
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
        _end(process, 0.0 if end_by_kill else _TERMINATE_SECONDS)


@contextmanager
def _guarded(process_id: int) -> Iterator[None]:
    """Kill the server if this process is killed within the block: an interrupted test run leaves no servers."""
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
    """Return the environment without variables that would configure the server."""
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


def _end(process: subprocess.Popen[bytes], patience_seconds: float) -> None:
    if patience_seconds:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
    process.kill()
    process.wait()
