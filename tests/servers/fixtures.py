"""Servers as fixtures: the first test that uses a server starts it, and it ends with the run.

Each worker of pytest-xdist starts its own: a start costs less than a second of CPU, LocalStack's two.

A server that cannot start skips the test with the reason, or fails it if the environment variable CI is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

from localstack.environment import EnvironmentNotMadeError
from tests.servers.addresses import S3AndSqs, S3Server
from tests.servers.localstack import localstack as run_localstack
from tests.servers.ministack import ministack as run_ministack
from tests.servers.moto import moto as run_moto
from tests.servers.postgresql import PostgresqlServer
from tests.servers.postgresql import postgresql as run_postgresql
from tests.servers.process import ServerNotAvailableError
from tests.servers.seaweedfs import seaweedfs as run_seaweedfs

Server = TypeVar("Server")


@pytest.fixture(scope="session")
def ministack() -> Iterator[S3AndSqs]:
    """S3 and SQS of ministack."""
    yield from serving(run_ministack())


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    """S3 of SeaweedFS."""
    yield from serving(run_seaweedfs())


@pytest.fixture(scope="session")
def moto() -> Iterator[S3AndSqs]:
    """S3 and SQS of moto."""
    yield from serving(run_moto())


@pytest.fixture(scope="session")
def localstack() -> Iterator[S3AndSqs]:
    """S3 and SQS of LocalStack."""
    yield from serving(run_localstack())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """PostgreSQL."""
    yield from serving(run_postgresql())


def serving(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """Yield the server while the fixture lives. If it cannot start, skip with the reason; in CI, fail."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(server)
        except (ServerNotAvailableError, EnvironmentNotMadeError) as error:
            if "CI" in os.environ:
                pytest.fail(f"in CI every server must start: {error}", pytrace=False)
            pytest.skip(str(error))
        yield started
