"""LocalStack 4.13.1, the community edition: S3 and SQS as its users run them, without Docker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localstack.environment import ROOT, environment
from tests.servers.addresses import S3AndSqs
from tests.servers.process import free_ports, responds, running, temporary_directory

_PLACE = ROOT / "localstack"
_INDEX = "service-catalog-*.dill"


@contextmanager
def localstack() -> Iterator[S3AndSqs]:
    """S3 and SQS, empty. Signatures are not checked, and nothing outlives the process."""
    programs = environment("localstack", _PLACE / "requirements.txt", python="3.11")
    (port,) = free_ports(1)
    with temporary_directory("localstack") as directory:
        launcher = _PLACE / "run_without_docker.py"
        command: list[str | Path] = [
            programs / "python",
            "-P",
            launcher,
            "--port",
            str(port),
            "--directory",
            str(directory),
        ]
        _bring_index(programs.parent, directory)
        with running(command, directory, {}, lambda: responds(port, "/_localstack/health")) as process_id:
            _keep_index(programs.parent, directory)
            yield S3AndSqs.at(port, process_id)


def _bring_index(kept: Path, directory: Path) -> None:
    """Give it the index of all services that an earlier start made, which takes it some seconds."""
    libraries = directory / "usr" / "lib" / "localstack"
    libraries.mkdir(parents=True)
    for index in kept.glob(_INDEX):
        shutil.copy(index, libraries)


def _keep_index(kept: Path, directory: Path) -> None:
    for index in directory.glob(f"var/lib/localstack/cache/{_INDEX}"):
        unfinished = kept / f"{os.getpid()}.{index.name}.part"
        shutil.copy(index, unfinished)
        unfinished.replace(kept / index.name)
