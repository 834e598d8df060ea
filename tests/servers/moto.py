"""moto: an emulator of S3 and SQS whose SQS delivers some messages twice. It suits faults, not load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localstack.environment import environment
from tests.servers.addresses import LOOPBACK, S3AndSqs
from tests.servers.process import free_ports, responds, running, temporary_directory

_PINS = Path(__file__).with_suffix(".txt")


@contextmanager
def moto() -> Iterator[S3AndSqs]:
    """Run an empty S3 and SQS. A receive takes time with the square of the depth: a second at 1,000 messages."""
    command = environment("moto", _PINS) / "moto_server"
    (port,) = free_ports(1)
    with (
        temporary_directory("moto") as directory,
        running(
            [command, "-H", LOOPBACK, "-p", str(port)], directory, {}, lambda: responds(port, "/moto-api/data.json")
        ) as process_id,
    ):
        yield S3AndSqs.at(port, process_id)
