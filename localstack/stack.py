"""Starts and ends the local stack, with Docker or without. `make stack` and `make stack-stop` call it.

python -m localstack.stack start [--without-docker] [--foreground] [--port 4566]
python -m localstack.stack stop
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from localstack import background, in_docker
from localstack.environment import ROOT, EnvironmentNotMadeError
from localstack.provision import REGION, Access, report_provision
from localstack.resources import read_resources

PLACE = ROOT / ".localstack"
PORT = 4566
_START_SECONDS = 120.0
_POLL_SECONDS = 0.2
_LOOPBACK = "127.0.0.1"


_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, resolve_path=True),
    default=PLACE,
    help="The directory of its log and its pid file [default: .localstack].",
)


@click.group()
def cli() -> None:
    """S3 and SQS on this computer, with LocalStack."""


@cli.command()
@click.option("--without-docker", is_flag=True, help="Do not look for Docker.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground; Ctrl-C ends it.")
@click.option("--port", default=PORT, show_default=True, help="The port of both services, on loopback only.")
@click.option("--region", default=REGION, show_default=True, help="The region of the bucket and the queues.")
@_directory
def start(without_docker: bool, foreground: bool, port: int, region: str, directory: Path) -> None:
    """Start it, and create the bucket and the queues. If it runs already, only create what is missing."""
    directory.mkdir(exist_ok=True)
    process: subprocess.Popen[bytes] | None = None
    why_not = "--without-docker" if without_docker else in_docker.why_not()
    if (process_id := background.running_process_id(directory)) is not None:
        if not is_up(port):
            raise click.ClickException(
                f"LocalStack runs already, as process {process_id}, but not on port {port}. `make stack-stop` ends it."
            )
        click.echo(f"LocalStack runs already, without Docker, as process {process_id}.")
        foreground = False
    elif why_not is None:
        click.echo("Starting LocalStack in Docker.")
        _start_in_docker(port)
    else:
        click.echo(f"Starting LocalStack without Docker ({why_not}).")
        process = _start_without_docker(directory, port)
    _provision(Access(f"http://{_LOOPBACK}:{port}", region))
    if foreground and process is not None:
        _stay(directory, process.wait)
    elif foreground and why_not is None:
        _stay(directory, in_docker.follow)


@cli.command()
@_directory
def stop(directory: Path) -> None:
    """End it, however it was started, if it runs. Its data is lost."""
    _end(directory)


def _end(directory: Path) -> None:
    stopped = background.stop(directory)
    if in_docker.why_not() is None:
        if not in_docker.stop():
            raise click.ClickException("Docker could not end LocalStack; see its output above.")
    elif not stopped:
        click.echo("LocalStack does not run.")
    if stopped:
        click.echo("LocalStack has ended.")


def is_up(port: int) -> bool:
    """Whether LocalStack, or a server with the same health check, answers on this port of loopback."""
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=5.0)
    try:
        connection.request("GET", "/_localstack/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _provision(access: Access) -> None:
    for line in report_provision(read_resources(), access):
        click.echo(f"  {line}")
    click.echo(f"S3 and SQS answer at {access.endpoint_url}. `make stack-stop` ends them and deletes their data.")
    click.echo("Next: .venv/bin/pipeline worker all --config config/localstack.toml")


def _start_in_docker(port: int) -> None:
    if not in_docker.start(port):
        raise click.ClickException(
            "Docker could not start LocalStack; see its output above. Without Docker: make stack STACK=--without-docker"
        )


def _start_without_docker(directory: Path, port: int) -> subprocess.Popen[bytes]:
    if _is_taken(port):
        raise click.ClickException(
            f"another program listens on port {port}: end it, or choose another port with --port"
        )
    try:
        process = background.start(directory, port)
    except EnvironmentNotMadeError as error:
        raise click.ClickException(str(error)) from error
    deadline = time.monotonic() + _START_SECONDS
    while not is_up(port):
        if process.poll() is not None or time.monotonic() > deadline:
            background.stop(directory)
            raise click.ClickException(_last_words(background.log_file(directory)))
        time.sleep(_POLL_SECONDS)
    return process


def _last_words(log: Path) -> str:
    last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    return f"LocalStack does not answer. The end of {log}:\n{last}"


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _stay(directory: Path, wait: Callable[[], object]) -> None:
    click.echo("Press Ctrl-C to end it.")
    try:
        with suppress(KeyboardInterrupt):
            wait()
    finally:
        _end(directory)


if __name__ == "__main__":
    cli()
