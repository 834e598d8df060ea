"""The parts of pages that follow what happens: made once for all who look at them, and asked for not too often.

However many people look, a part is read from the store once a second at most, and all together ask some ten times a
second: the more there are, the less often each page asks, and the older a part may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import anyio

FRESH_SECONDS = 1.0
"""A part is at most this old, while few people look."""
FRESH_SHARE = 0.25
"""A part may be as old as this share of the time after which a page asks again."""
MOST_A_SECOND = 10.0
"""How often all pages together ask, about."""
LONGEST_SECONDS = 60.0
LATE = 1.25
"""A page that has not asked after this times its pause was closed."""
PARTS_KEPT = 100
SAMPLES_KEPT = 300
"""Of the records of a Movement under way: five minutes, when a page asks every second."""


@dataclass(slots=True)
class _Part:
    reading: anyio.Lock = field(default_factory=anyio.Lock)
    made_at: float = float("-inf")
    html: str = ""
    pause: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """How many records were exported and imported so far, `at` seconds by the server's clock."""

    at: float
    exported: int
    imported: int


class LiveParts:
    """The parts of all pages of one server. What it keeps is a cache: another server makes its own."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._expected: list[float] = []
        self._samples: dict[tuple[str, int], deque[Sample]] = {}

    async def part(self, path: str, shortest: float, make: Callable[[int], Awaitable[str]]) -> str:
        """Return the part of the page at `path`. If the one that is known is too old, `make` makes it: it gets the seconds
        after which a page is to ask again, at least `shortest`.
        """
        if path not in self._parts and len(self._parts) >= PARTS_KEPT:
            self._parts.clear()
        part = self._parts.setdefault(path, _Part())
        async with part.reading:
            if anyio.current_time() - part.made_at >= max(FRESH_SECONDS, FRESH_SHARE * part.pause):
                part.pause = self._pause(shortest)
                part.html = await make(part.pause)
                part.made_at = anyio.current_time()
        self._expect(part.pause)
        return part.html

    def next_pause(self, shortest: float) -> int:
        """Return after how many seconds a page that is loaded now is to ask for its part."""
        pause = self._pause(shortest)
        self._expect(pause)
        return pause

    def _pause(self, shortest: float) -> int:
        now = anyio.current_time()
        while self._expected and self._expected[0] < now:
            heappop(self._expected)
        return round(min(max(shortest, len(self._expected) / MOST_A_SECOND), LONGEST_SECONDS))

    def _expect(self, pause: int) -> None:
        """Note that a page will ask again, unless it is closed."""
        heappush(self._expected, anyio.current_time() + pause * LATE)

    def sample(self, flow: str, movement: int, exported: int, imported: int) -> Sequence[Sample]:
        """Note how far a Movement is, and return what was noted so far, oldest first."""
        if (flow, movement) not in self._samples and len(self._samples) >= PARTS_KEPT:
            self._samples.clear()
        kept = self._samples.setdefault((flow, movement), deque(maxlen=SAMPLES_KEPT))
        now = anyio.current_time()
        if not kept or now - kept[-1].at >= FRESH_SECONDS:
            kept.append(Sample(now, exported, imported))
        return list(kept)
