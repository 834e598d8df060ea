"""Reads `resources.toml`: what the local stack has, for provisioning and for tests."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

RESOURCES = Path(__file__).with_name("resources.toml")


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, private, without versions."""

    name: str
    abort_stale_uploads_days: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One standard SQS queue with its dead-letter queue, and their limits as SQS has them."""

    name: str
    visibility_seconds: int
    max_receive_count: int
    retention_seconds: int
    dead_retention_seconds: int

    @property
    def dead_name(self) -> str:
        """Where messages go that were received `max_receive_count` times and never acknowledged."""
        return f"{self.name}-dead"


@dataclass(frozen=True, slots=True)
class Resources:
    """All of it. A key that is missing or unknown in the file is a TypeError that names it."""

    bucket: Bucket
    queues: tuple[Queue, ...]


def read_resources(path: Path = RESOURCES) -> Resources:
    """What the file says."""
    content = tomllib.loads(path.read_text())
    return Resources(Bucket(**content["bucket"]), tuple(Queue(**queue) for queue in content["queues"]))
