"""Reads `resources.toml`, the resources of the local stack, for provisioning and tests."""

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
    """One standard SQS queue with its dead-letter queue, and their settings in SQS."""

    name: str
    visibility_seconds: int
    max_receive_count: int
    retention_seconds: int
    dead_retention_seconds: int

    @property
    def dead_name(self) -> str:
        """The queue for messages that were received `max_receive_count` times and never acknowledged."""
        return f"{self.name}-dead"


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources. A TypeError names a key that is missing or unknown in the file."""

    bucket: Bucket
    queues: tuple[Queue, ...]


def read_resources(path: Path = RESOURCES) -> Resources:
    """Read the file."""
    content = tomllib.loads(path.read_text())
    return Resources(Bucket(**content["bucket"]), tuple(Queue(**queue) for queue in content["queues"]))
