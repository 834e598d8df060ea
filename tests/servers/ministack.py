"""ministack: an emulator of S3 and SQS that is up in half a second; keeps everything in memory."""

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
    """S3 and SQS, empty. It has no StartMessageMoveTask, and receiving slows down with the depth of a queue."""
    command = environment("ministack", _PINS) / "ministack"
    (port,) = free_ports(1)
    settings = {"BIND_HOST": LOOPBACK, "GATEWAY_PORT": str(port), "SERVICES": "s3,sqs"}
    with (
        temporary_directory("ministack") as directory,
        running([command], directory, settings, lambda: responds(port, "/_ministack/health")) as process_id,
    ):
        yield S3AndSqs.at(port, process_id)
