"""One request of an Exporter fails at a time. The function must raise, or give what it gives without the failure.

An error that it swallows makes a list that ends too early, and the rows that it lacks would be deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.domain.errors import PipelineError
from pipeline.testing.simulated.faults import Fault, Kind, Point, method_of
from pipeline.testing.simulated.process import current
from pipeline.testing.torture.interception.author_process import AuthorProcess

MOST_FAILURES = 30
"""How many requests of one function fail, spread over all that it makes."""
Reading = Callable[[], Awaitable[Mapping[Any, Any]]]
"""Reads rows by their keys."""


@dataclass
class OneFailure:
    """A dealer that lets one request fail, that with the number `fails`. `requests` counts them all."""

    fails: int | None = None
    requests: int = 0
    dealt: list[Fault] = field(default_factory=list)

    def deal(self, process: str, call: str, kinds: Sequence[Kind]) -> Fault | None:
        """Return what goes wrong at this call: nothing where the author awaits no request."""
        if method_of(call) != "await":
            return None
        number, self.requests = self.requests, self.requests + 1
        if number != self.fails:
            return None
        fault = Fault(Point(process, call, number), Kind.FAIL_BEFORE, 0.0)
        self.dealt.append(fault)
        return fault


async def check_failed_requests(readings: Mapping[str, Reading]) -> None:
    """AssertionError names the request whose failure a function swallows. `readings` are named by what they read."""
    requests = 0
    for what, read in readings.items():
        calm = OneFailure()
        expected = await _read(read, calm)
        requests += calm.requests
        for number in sorted({calm.requests * part // MOST_FAILURES for part in range(MOST_FAILURES)}):
            dealer = OneFailure(number)
            try:
                found = await _read(read, dealer)
            except PipelineError:
                continue
            if dealer.dealt:
                line = dealer.dealt[0].point.call.partition(" ")[2]
                how = f"{len(found)} of {len(expected)} rows" if len(found) != len(expected) else "other rows"
                assert found == expected, (
                    f"a request failed ({line}), and {what} gave {how}, as if nothing were wrong. Let the error pass: rows "
                    "that a list lacks are deleted"
                )
    if not requests:
        pytest.skip("the functions await nothing that could fail")


async def _read(read: Reading, dealer: OneFailure) -> Mapping[Any, Any]:
    token = current.set(AuthorProcess("suite", dealer=dealer))
    try:
        return await read()
    finally:
        current.reset(token)
