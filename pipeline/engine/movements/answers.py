"""Whether the store and the queues answer a long-running worker, as its health file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from pipeline.domain.errors import PipelineError

POLL_SECONDS = 20.0
"""SQS's longest poll: an empty receive costs a request."""
ANSWER_SECONDS = POLL_SECONDS + 5.0
"""A service that is asked and has not answered for this long is not well."""
FAILING_SECONDS = 10.0
"""A service whose answers have been errors for this long is not well."""


@dataclass(slots=True)
class Answers:
    """Since when each service is asked without an answer, and since when it fails, by this process's own clock."""

    _asked: dict[str, float] = field(default_factory=dict)
    _failing: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def asking(self, service: str) -> Iterator[None]:
        """Ask a service in the body. After an error, it counts as asked until a later body ends without one."""
        self._asked.setdefault(service, anyio.current_time())
        try:
            yield
        except PipelineError:
            self.fail(service)
            raise
        self.note(service)

    def fail(self, service: str) -> None:
        """Note that a service has answered with an error, or could not be reached."""
        self._failing.setdefault(service, anyio.current_time())

    def note(self, service: str) -> None:
        """Note that a service has answered, though with an error."""
        self._asked.pop(service, None)
        self._failing.pop(service, None)

    def missing(self) -> Sequence[str]:
        """Return the services that have not answered for `ANSWER_SECONDS`, or failed for `FAILING_SECONDS`, sorted."""
        now = anyio.current_time()
        silent = {service for service, since in self._asked.items() if now - since > ANSWER_SECONDS}
        failing = {service for service, since in self._failing.items() if now - since > FAILING_SECONDS}
        return sorted(silent | failing)
