"""`make stack` without Docker: the process is found and ended, and never mistaken for another; and its settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localstack import background, stack
from localstack.environment import ROOT
from localstack.resources import read_resources
from pipeline.settings import load_settings
from tests.servers.process import free_ports

HOLD = "import sys, time, pathlib; from localstack.run_without_docker import hold; hold(pathlib.Path(sys.argv[1]));"


@contextmanager
def holder(place: Path, then: str = "time.sleep(60)") -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that holds the pid file as LocalStack does."""
    command = [sys.executable, "-c", HOLD + then, str(background.pid_file(place))]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 20
            while (
                background.running_process_id(place) is None and process.poll() is None and time.monotonic() < deadline
            ):
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def run_stack(place: Path, *arguments: str) -> str:
    """Run `python -m localstack.stack` and return its output, both streams."""
    command = [sys.executable, "-m", "localstack.stack", *arguments, "--directory", str(place)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def test_a_running_process_is_found_and_ended(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert background.running_process_id(tmp_path) == process.pid
        assert background.stop(tmp_path)
        assert process.wait() == -signal.SIGTERM
    assert background.running_process_id(tmp_path) is None


def test_a_process_that_ignores_signals_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_TERMINATE_SECONDS", 0.3)
    stubborn = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1] + '.deaf', 'w'); time.sleep(60)"
    )
    with holder(tmp_path, stubborn) as process:
        while not Path(f"{background.pid_file(tmp_path)}.deaf").exists():
            time.sleep(0.05)
        assert background.stop(tmp_path)
        assert process.wait() == -signal.SIGKILL


def test_a_pid_file_that_a_kill_left_is_ignored(tmp_path: Path) -> None:
    background.pid_file(tmp_path).write_text(str(os.getpid()))
    assert background.running_process_id(tmp_path) is None
    assert not background.stop(tmp_path)


def test_only_one_runs_at_a_time(tmp_path: Path) -> None:
    with holder(tmp_path) as first, holder(tmp_path) as second:
        assert second.wait() == 1
        assert background.running_process_id(tmp_path) == first.pid


def test_one_on_another_port_is_named_and_not_ended(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with holder(tmp_path) as process:
        said = run_stack(tmp_path, "start", "--without-docker", "--port", str(port))
        assert f"as process {process.pid}, but not on port {port}" in said
        assert process.poll() is None


@pytest.mark.slow
def test_the_stack_starts_twice_and_ends(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    start = ["start", "--without-docker", "--port", str(port)]
    try:
        outputs = [run_stack(tmp_path, *start) for _ in range(2)]
        assert "queue pipeline-imports: created" in outputs[0]
        assert "runs already" in outputs[1]
        assert "queue pipeline-imports: unchanged" in outputs[1]
    finally:
        ended = run_stack(tmp_path, "stop")
    assert "LocalStack has ended" in ended
    assert background.running_process_id(tmp_path) is None
    assert not stack.is_up(port)


def test_the_settings_name_what_is_provisioned() -> None:
    settings, resources = load_settings(ROOT / "config" / "localstack.toml"), read_resources()
    assert settings.store == f"s3://{resources.bucket.name}"
    assert [settings.exports_queue, settings.imports_queue] == [f"sqs://{queue.name}" for queue in resources.queues]
    assert settings.aws_endpoint_url == f"http://127.0.0.1:{stack.PORT}"
    for queue in resources.queues:
        assert queue.visibility_seconds == settings.queue_visibility_seconds
        assert queue.max_receive_count == settings.queue_max_receives


def test_both_ways_start_the_same_release() -> None:
    pinned = [
        line
        for line in (ROOT / "localstack/requirements.txt").read_text().splitlines()
        if line.startswith("localstack-core")
    ]
    release = pinned[0].partition("==")[2]
    assert f"image: localstack/localstack:{release}\n" in (ROOT / "localstack/compose.yaml").read_text()
