"""A clock that tests advance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass
class ManualClock:
    """A clock that advances by a millisecond whenever it is read."""

    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the present moment."""
        self.moment += timedelta(milliseconds=1)
        return self.moment
