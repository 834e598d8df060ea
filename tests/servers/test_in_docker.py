"""The stack in Docker, tested with a fake `docker` that records its arguments and starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localstack.environment import ROOT
from tests.servers.addresses import S3AndSqs

COMPOSE = f"compose --file {ROOT}/localstack/compose.yaml"


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """Return a directory with a `docker` that fails at each word in the file `refused` and records its arguments in `asked`."""
    program = tmp_path / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$LOCALSTACK_PORT $*" >> {tmp_path}/asked\n'
        f'for word in $(cat {tmp_path}/refused); do case "$*" in *$word*) exit 1;; esac; done\n'
    )
    program.chmod(0o755)
    (tmp_path / "refused").write_text("")
    return tmp_path


def run_stack(docker: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "localstack.stack", *arguments, "--directory", str(docker / "stack")]
    surroundings = os.environ | {"PATH": f"{docker}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def asked(docker: Path) -> list[str]:
    return [line.strip() for line in (docker / "asked").read_text().splitlines()]


def test_docker_is_used_when_it_answers(docker: Path, ministack: S3AndSqs) -> None:
    port = ministack.s3.endpoint_url.rpartition(":")[2]
    code, said = run_stack(docker, "start", "--port", port)
    assert code == 0, said
    assert said.startswith("Starting LocalStack in Docker.")
    assert "bucket pipeline: " in said
    assert asked(docker)[-1] == f"{port} {COMPOSE} up --detach --wait"
    assert run_stack(docker, "stop")[0] == 0
    assert asked(docker)[-1] == f"{COMPOSE} down --volumes"


def test_a_failure_of_docker_is_reported_with_the_alternative(docker: Path) -> None:
    (docker / "refused").write_text("up down")
    code, said = run_stack(docker, "start")
    assert code == 1
    assert (
        "Docker could not start LocalStack; see its output above. Without Docker: make stack STACK=--without-docker"
        in said
    )
    assert run_stack(docker, "stop") == (1, "Error: Docker could not end LocalStack; see its output above.\n")


@pytest.mark.parametrize(
    ("refused", "why"), [("info", "no Docker engine answers"), ("version", "Docker has no `compose`")]
)
def test_the_reason_for_not_using_docker_is_shown(refused: str, why: str, docker: Path, ministack: S3AndSqs) -> None:
    (docker / "refused").write_text(refused)
    port = ministack.s3.endpoint_url.rpartition(":")[2]
    code, said = run_stack(docker, "start", "--port", port)
    assert said.startswith(f"Starting LocalStack without Docker ({why}).")
    assert (code, f"another program listens on port {port}" in said) == (1, True)
