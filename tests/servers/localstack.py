"""LocalStack 4.13.1, the community edition: S3 and SQS as its users run them, without Docker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localstack.environment import ROOT, environment
from tests.servers.addresses import S3AndSqs
from tests.servers.process import free_ports, responds, running, temporary_directory

_PLACE = ROOT / "localstack"


@contextmanager
def localstack() -> Iterator[S3AndSqs]:
    """S3 and SQS, empty. Signatures are not checked, and nothing outlives the process."""
    python = environment("localstack", _PLACE / "requirements.txt", python="3.11") / "python"
    (port,) = free_ports(1)
    with temporary_directory("localstack") as directory:
        launcher = _PLACE / "run_without_docker.py"
        command: list[str | Path] = [python, "-P", launcher, "--port", str(port), "--directory", str(directory)]
        with running(command, directory, {}, lambda: responds(port, "/_localstack/health")) as process_id:
            yield S3AndSqs.at(port, process_id)
