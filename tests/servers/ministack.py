"""ministack: an emulator of S3 and SQS in memory, which starts in half a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localstack.environment import environment
from tests.servers.addresses import LOOPBACK, S3AndSqs
from tests.servers.process import free_ports, responds, running, temporary_directory

_PINS = Path(__file__).with_suffix(".txt")


@contextmanager
def ministack() -> Iterator[S3AndSqs]:
    """Run an empty S3 and SQS. It has no StartMessageMoveTask, and receiving from a deep queue is slow."""
    command = environment("ministack", _PINS) / "ministack"
    (port,) = free_ports(1)
    settings = {"BIND_HOST": LOOPBACK, "GATEWAY_PORT": str(port), "SERVICES": "s3,sqs,sns"}
    with (
        temporary_directory("ministack") as directory,
        running([command], directory, settings, lambda: responds(port, "/_ministack/health")) as process_id,
    ):
        yield S3AndSqs.at(port, process_id)
