"""Runs LocalStack in the foreground, without Docker: S3 and SQS, on loopback only. `localstack/start.py` calls it.

    .venv-localstack/bin/python -P localstack/run_without_docker.py --port 4566 --directory .localstack/data

It runs in LocalStack's own environment (`requirements.txt`), not in the project's. `-P` keeps this directory off the
import path. What is set in the environment goes before the defaults here.
"""

from __future__ import annotations

import argparse
import functools
import os
import runpy

LOOPBACK = "127.0.0.1"


def main() -> None:
    """Ends with the process; SIGTERM and Ctrl-C end it in order."""
    parser = argparse.ArgumentParser(description="Run LocalStack's S3 and SQS on loopback, without Docker.")
    parser.add_argument("--port", type=int, default=4566, help="the port of both services (4566)")
    parser.add_argument("--directory", default=".localstack/data", help="where it keeps its files (.localstack/data)")
    arguments = parser.parse_args()
    for name, value in settings(arguments.port, arguments.directory).items():
        os.environ.setdefault(name, value)
    listen_on_loopback()
    runpy.run_module("localstack.runtime.main", run_name="__main__")


def settings(port: int, directory: str) -> dict[str, str]:
    """The environment in which LocalStack serves S3 and SQS and downloads, sends and resolves nothing."""
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
        "FILESYSTEM_ROOT": directory,
    }


def listen_on_loopback() -> None:
    """Give every listener the interface that LocalStack leaves out: it binds all of them, whatever GATEWAY_LISTEN says."""
    from twisted.internet import endpoints  # type: ignore[import-not-found]

    endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface=LOOPBACK)


if __name__ == "__main__":
    main()
