"""The network between workers and servers: it cuts, delays, truncates and loses answers, as often as it is told to.

Servers may move: the address that workers are given stays.
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
    """The way to one server. Each kind of fault meets a request with probability `chance`."""

    proxy: FaultProxy
    dice: Random
    chance: float = 0.0

    @property
    def url(self) -> str:
        """Where clients find it."""
        return self.proxy.url

    def lead_to(self, url: str) -> None:
        """Lead to a server that is elsewhere from now on."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.proxy.upstream = parts.hostname, parts.port

    def requests(self) -> int:
        """How many requests there were since this was last asked."""
        count = len(self.proxy.seen)
        del self.proxy.seen[:count]
        return count

    def strikes(self, _: Head) -> bool:
        """Whether a fault meets this request."""
        return self.chance > 0 and self.dice.random() < self.chance


@contextmanager
def open_link(portal: BlockingPortal, url: str, dice: Random, *, truncates: bool) -> Iterator[Link]:
    """Lead to the server at `url`, by a proxy in the portal's thread; without faults at first."""
    with portal.wrap_async_context_manager(fault_proxy(url)) as proxy:
        link = Link(proxy, dice)
        for fault in (*FAULTS, Truncate(1000)) if truncates else FAULTS:
            proxy.every(fault, when=link.strikes)
        yield link
