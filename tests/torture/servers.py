"""The servers of a run: a store that can be killed and restarted, an SQS, a PostgreSQL, and the network to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from anyio.from_thread import BlockingPortal

from localstack.provision import Access
from tests.servers.addresses import S3Server, SqsServer
from tests.servers.ministack import ministack
from tests.servers.postgresql import PostgresqlServer, postgresql
from tests.servers.process import temporary_directory
from tests.servers.seaweedfs import seaweedfs
from tests.torture.network import Link, open_link


@dataclass
class Store:
    """SeaweedFS on its own directory."""

    directory: Path
    _running: ExitStack = field(default_factory=ExitStack)
    server: S3Server | None = None

    def start(self) -> S3Server:
        """Start it on the data of earlier runs."""
        self.server = self._running.enter_context(seaweedfs(self.directory))
        return self.server

    def kill(self) -> None:
        """End it with SIGKILL, which is also the fastest way to stop it."""
        if self.server is not None and self.server.process_id is not None:
            os.kill(self.server.process_id, signal.SIGKILL)
        self.server = None
        self._running.close()

    def access(self) -> Access:
        """Return access that bypasses the network."""
        assert self.server is not None
        return Access(
            self.server.endpoint_url, self.server.region, self.server.access_key_id, self.server.secret_access_key
        )


@dataclass(frozen=True)
class Servers:
    """All servers, and the links through which workers reach the first two."""

    store: Store
    sqs: SqsServer
    postgres: PostgresqlServer
    to_store: Link
    to_sqs: Link

    def restart_store(self) -> None:
        """Start the store again, on any free port."""
        self.to_store.forward_to(self.store.start().endpoint_url)


@contextmanager
def open_servers(portal: BlockingPortal, random: Random) -> Iterator[Servers]:
    """Start all servers; end them at the end."""
    with ExitStack() as stack:
        store = Store(stack.enter_context(temporary_directory("torture")))
        stack.callback(store.kill)
        s3 = store.start()
        sqs = stack.enter_context(ministack()).sqs
        postgres = stack.enter_context(postgresql())
        to_store = stack.enter_context(open_link(portal, s3.endpoint_url, Random(random.random()), truncates=True))
        to_sqs = stack.enter_context(open_link(portal, sqs.endpoint_url, Random(random.random()), truncates=False))
        yield Servers(store, sqs, postgres, to_store, to_sqs)
