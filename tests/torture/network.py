"""The network between workers and servers, which injects faults with a set chance.

A server may move to another port; its address for the workers stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal

from tests.aws.fault_proxy import Answer, Delay, FaultProxy, LoseAnswer, ResetBefore, Truncate, fault_proxy
from tests.aws.http_messages import Head

FAULTS = (ResetBefore(), LoseAnswer(), Answer(503, "SlowDown"), Answer(500, "InternalError"), Delay(0.3))


@dataclass
class Link:
    """A proxy to one server. Each kind of fault hits a request with probability `chance`."""

    proxy: FaultProxy
    random: Random
    chance: float = 0.0

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.proxy.url

    def forward_to(self, url: str) -> None:
        """Forward to a server at this address from now on."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.proxy.upstream = parts.hostname, parts.port

    def requests(self) -> int:
        """Return the number of requests since the last call."""
        count = len(self.proxy.seen)
        del self.proxy.seen[:count]
        return count

    def strikes(self, _: Head) -> bool:
        """Whether a fault hits this request."""
        return self.chance > 0 and self.random.random() < self.chance


@contextmanager
def open_link(portal: BlockingPortal, url: str, random: Random, *, truncates: bool) -> Iterator[Link]:
    """Run a proxy to the server at `url` in the portal's thread, at first without faults."""
    with portal.wrap_async_context_manager(fault_proxy(url)) as proxy:
        link = Link(proxy, random)
        for fault in (*FAULTS, Truncate(1000)) if truncates else FAULTS:
            proxy.every(fault, when=link.strikes)
        yield link
