"""Runs LocalStack's S3 and SQS in the foreground, without Docker, on loopback only. `make stack` and tests call it.

    .venv-localstack/bin/python -P localstack/run_without_docker.py --port 4566 --directory .localstack/data

It runs in LocalStack's own environment (`requirements.txt`), not in the project's. `-P` keeps this directory off the
import path. Environment variables take precedence over the defaults here.
"""

from __future__ import annotations

import argparse
import atexit
import fcntl
import functools
import os
import runpy
import shutil
import sys
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOCK_SECONDS = 2.0
_INDEX = "service-catalog-*.dill"


def main() -> None:
    """Run until the process ends; SIGTERM and Ctrl-C shut it down."""
    parser = argparse.ArgumentParser(description="Run LocalStack's S3 and SQS on loopback, without Docker.")
    parser.add_argument("--port", type=int, default=4566, help="the port of both services (4566)")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".localstack/data"),
        help="the directory for its files (.localstack/data)",
    )
    parser.add_argument("--pid-file", type=Path, help="a file for its pid, locked while it runs")
    arguments = parser.parse_args()
    if arguments.pid_file is not None:
        hold(arguments.pid_file)
    for name, value in settings(arguments.port, arguments.directory).items():
        os.environ.setdefault(name, value)
    listen_on_loopback()
    restore_index(arguments.directory)
    atexit.register(save_index, arguments.directory)
    runpy.run_module("localstack.runtime.main", run_name="__main__")


def settings(port: int, directory: Path) -> dict[str, str]:
    """Return the environment in which LocalStack serves S3 and SQS, and contacts no other machine."""
    address = f"{LOOPBACK}:{port}"
    return {
        "SERVICES": "s3,sqs",
        "STRICT_SERVICE_LOADING": "1",
        "EAGER_SERVICE_LOADING": "1",
        "GATEWAY_LISTEN": address,
        "LOCALSTACK_HOST": address,
        "SQS_ENDPOINT_STRATEGY": "path",
        "DNS_ADDRESS": "0",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "OVERRIDE_IN_DOCKER": "0",  # otherwise it may assume that it runs in its image, and write to /var/lib
        "FILESYSTEM_ROOT": str(directory),
    }


def hold(pid_file: Path) -> None:
    """Lock the file until the process ends, and write the pid into it. End the process if another one holds the lock."""
    descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _LOCK_SECONDS  # checking the lock takes it for a moment
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(f"another LocalStack holds {pid_file}")
            time.sleep(0.05)
        else:
            break
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def restore_index(directory: Path) -> None:
    """Restore the index of all AWS services from an earlier run: creating one takes 3 to 10 seconds.

    LocalStack replaces an index that is damaged or of another version.
    """
    libraries = directory / "usr" / "lib" / "localstack"
    libraries.mkdir(parents=True, exist_ok=True)
    for index in Path(sys.prefix).glob(_INDEX):
        shutil.copy(index, libraries)


def save_index(directory: Path) -> None:
    """Save the index beside the installed packages, atomically."""
    for index in directory.glob(f"var/lib/localstack/cache/{_INDEX}"):
        unfinished = Path(sys.prefix) / f"{os.getpid()}.part"
        shutil.copy(index, unfinished)
        unfinished.replace(Path(sys.prefix) / index.name)


def listen_on_loopback() -> None:
    """Make every listener bind loopback: LocalStack binds all interfaces, whatever GATEWAY_LISTEN says."""
    from twisted.internet import endpoints  # type: ignore[import-not-found]

    endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface=LOOPBACK)


if __name__ == "__main__":
    main()
