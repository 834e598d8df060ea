"""`pipeline serve` as a process: where it listens, who may come in, and how it ends."""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.cli.app import CommandLine, make_database, process_environment

STREAMS, SLOW, TRIES = 50, 3000, 3
MOST_BUSY = 0.12
"""Seconds of the processor. To take the interpreter apart takes more than that."""
OIDC = ["--oidc-issuer", "https://login.example.org", "--oidc-client-id", "x", "--oidc-client-secret", "env:SECRET"]


@contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Run a server on a free port; yield it with its port and its start-up token."""
    command = [sys.executable, "-m", "pipeline", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=directory, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            match = re.search(r":(\d+)/(?:\?token=(\S+))?", said)
            assert match, said
            yield process, int(match[1]), match[2] or ""
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_a_second_with_fifty_streams_open(pipeline: CommandLine, sent: signal.Signals) -> None:
    (pipeline.directory / "a.db").touch()
    assert pipeline("flow", "create", "crm", "a.db", "b.db").code == 0
    ends = [_seconds_to_end(pipeline.directory, sent) for _ in range(TRIES)]
    # the least of three, since other programs may have the processor
    assert min(seconds for seconds, _ in ends) < 1.0, ends
    assert min(busy for _, busy in ends) < MOST_BUSY, ends


def _seconds_to_end(directory: Path, sent: signal.Signals) -> tuple[float, float]:
    """Return the seconds from the signal to the end of the process, and those of the processor meanwhile."""
    with serving(directory) as (process, port, token):
        streams = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(STREAMS)]
        for one in streams:
            one.request("GET", "/api/v1/flows/crm/events/stream", headers={"Authorization": f"Bearer {token}"})
            assert one.getresponse().status == 200
        time.sleep(0.2)
        begun, busy = time.monotonic(), sum(psutil.Process(process.pid).cpu_times()[:2])
        process.send_signal(sent)
        _, status, used = os.wait4(process.pid, 0)
        seconds, process.returncode = time.monotonic() - begun, os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        for one in streams:
            one.close()
        return seconds, used.ru_utime + used.ru_stime - busy


@pytest.mark.slow
def test_thousands_of_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        _, port, _ = stack.enter_context(serving(tmp_path))
        for _ in range(SLOW):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
        asking = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        asking.request("GET", "/healthz")
        assert asking.getresponse().read() == b'{"status":"ok"}'


def test_the_token_is_written_to_a_file_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    with serving(tmp_path, "--token-file", "token") as (_, port, printed):
        path = tmp_path / "token"
        assert (printed, path.stat().st_mode & 0o777) == ("", 0o600)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as asking:
            asking.request("GET", "/api/v1/flows", headers={"Authorization": f"Bearer {path.read_text()}"})
            assert asking.getresponse().status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "can be reached by other machines"),
        (["--auth", "proxy"], "--proxy-network"),
        (["--auth", "proxy", "--proxy-network", "x"], "10.0.0.5/32"),
        (["--auth", "oidc"], "needs --oidc-issuer, --oidc-client-id, --oidc-client-secret, --public-url"),
        (["--auth", "oidc", *OIDC], "needs --public-url"),
        (["--auth", "oidc", *OIDC, "--public-url", "http://move.example.org"], "not encrypted"),
        (["--auth", "oidc", *OIDC, "--public-url", "move.example.org"], "is no URL"),
        (["--profile-secret", "env:SECRET"], "is for --profile app-migration"),
        (["--profile", "app-migration", "--profile-secret", "plain secret"], "in plain"),
        (["--profile", "app-migration", "--profile-secret", "env:SECRET", "--profile-app-id", "x"], "Give one of them"),
        (["--public-url", "ftp://move.example.org"], "is no URL"),
        (["--public-url", "https://example.org/a b"], "has more than a name and a path"),
        (["--public-url", "https://example.org/a/../b"], "has more than a name and a path"),
        (["--public-url", "https://example.org/?a=b"], "has more than a name and a path"),
        (["--public-url", "https://example.org/api/"], "begins with /api, as paths of the server do"),
        (["--public-url", "https://example.org/flows/x"], "begins with /flows, as paths of the server do"),
        (["--auth", "oidc", *OIDC[:5], "plain", "--public-url", "https://move.example.org"], "in plain"),
        (OIDC, "for --auth oidc"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr("pipeline.http.server.is_loopback", lambda host: host in ("127.0.0.1", "localhost"))
    outcome = pipeline("serve", *arguments)
    assert (outcome.code, words in outcome.err, "plain secret" in outcome.err) == (2, True, False), outcome.err


def test_with_a_provider_people_are_led_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a secret")
    options = ("--auth", "oidc", *OIDC, "--public-url", "https://move.example.org")
    with (
        serving(tmp_path, *options) as (_, port, token),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as asking,
    ):
        asking.request("GET", "/login", headers={"Host": "move.example.org"})
        answer = asking.getresponse()
        assert (answer.status, b"login.example.org" in answer.read(), token) == (200, True, "")
        asking.request("GET", "/login/oidc/callback", headers={"Host": "move.example.org"})
        answer = asking.getresponse()
        assert (answer.status, b"not begun here" in answer.read()) == (403, True)


@pytest.mark.parametrize("places", [("app://server", "b.db"), ("a.db", "app://cloud")])
def test_verify_says_that_it_cannot_read_an_app_over_http(pipeline: CommandLine, places: tuple[str, str]) -> None:
    make_database(pipeline.directory / "a.db")
    make_database(pipeline.directory / "b.db")
    assert pipeline("flow", "create", "crm", *places).code == 0
    assert pipeline("start", "crm").code == 0
    outcome = pipeline("verify", "crm")
    assert (outcome.code, "it is an app over HTTP" in outcome.err) == (2, True), outcome
