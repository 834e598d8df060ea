"""LocalStack 4.13.1, the community edition, without Docker: S3 and SQS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from localstack.environment import ROOT, environment
from tests.servers.addresses import S3AndSqs
from tests.servers.process import free_ports, responds, running, temporary_directory

_PINS = ROOT / "localstack" / "requirements.txt"
_LAUNCHER = ROOT / "localstack" / "run_without_docker.py"


@contextmanager
def localstack() -> Iterator[S3AndSqs]:
    """Run an empty S3 and SQS. It checks no signatures, and nothing outlives the process."""
    python = environment("localstack", _PINS, python="3.11") / "python"
    (port,) = free_ports(1)
    with temporary_directory("localstack") as directory:
        options = ["--port", str(port), "--directory", str(directory)]
        command = [str(python), "-P", str(_LAUNCHER), *options]
        with running(command, directory, {}, lambda: responds(port, "/_localstack/health")) as process_id:
            yield S3AndSqs.at(port, process_id)
