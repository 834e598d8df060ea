"""The port to the time of day. Waits and timeouts use anyio's clock instead."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...
