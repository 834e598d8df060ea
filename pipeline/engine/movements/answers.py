"""Whether the store and the queues answer a long-running worker, as its health file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

POLL_SECONDS = 20.0
"""SQS's longest poll: an empty receive costs a request."""
ANSWER_SECONDS = POLL_SECONDS + 5.0
"""A service that is asked and has not answered for this long is not well."""


@dataclass(slots=True)
class Answers:
    """Since when each service is asked without an answer, by this process's own clock."""

    _asked: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def asking(self, service: str) -> Iterator[None]:
        """Ask a service in the body. After an error, it counts as asked until a later body ends without one."""
        self._asked.setdefault(service, anyio.current_time())
        yield
        self.note(service)

    def note(self, service: str) -> None:
        """Note that a service has answered, though with an error."""
        self._asked.pop(service, None)

    def missing(self) -> Sequence[str]:
        """Return the services that have not answered for `ANSWER_SECONDS`, sorted."""
        now = anyio.current_time()
        return sorted(service for service, since in self._asked.items() if now - since > ANSWER_SECONDS)
