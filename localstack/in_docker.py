"""Runs LocalStack in Docker, with `compose.yaml`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_COMPOSE = ["docker", "compose", "--file", str(Path(__file__).with_name("compose.yaml"))]
_ANSWER_SECONDS = 20.0


def why_not() -> str | None:
    """Return why Docker cannot be used here, in a few words; None if it can."""
    if not _succeeds(["docker", "info"]):
        return "no Docker engine answers"
    if not _succeeds(["docker", "compose", "version"]):
        return "Docker has no `compose`"
    return None


def start(port: int) -> bool:
    """Pull the image if it is missing, start it, and wait until it is healthy. Return whether that succeeded."""
    return _compose(["up", "--detach", "--wait"], port)


def follow() -> None:
    """Show its output until it ends."""
    _compose(["logs", "--follow"])


def stop() -> bool:
    """Remove its container and its data, if there are any. Return whether that succeeded."""
    return _compose(["down", "--volumes"])


def _compose(arguments: list[str], port: int | None = None) -> bool:
    surroundings = os.environ | ({} if port is None else {"LOCALSTACK_PORT": str(port)})
    return subprocess.run([*_COMPOSE, *arguments], check=False, env=surroundings).returncode == 0


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
