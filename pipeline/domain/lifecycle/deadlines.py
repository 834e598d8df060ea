"""How long a Movement may take: nothing may be silent for too long, and nothing may live for too long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.domain.flows.declaration import Windows
from pipeline.domain.lifecycle.status import Reason

_DEFAULT = Windows()
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The windows of one Movement, in seconds."""

    inactivity_seconds: float
    life_seconds: float
    stop_grace_seconds: float = _DEFAULT.stop_grace_seconds

    @classmethod
    def of(cls, windows: Windows | None, *, idle_timeout_seconds: float, lifetime_seconds: float) -> Deadlines:
        """Return the windows that the Flow had when the Movement was created; what it did not declare, settings say."""
        its = windows or _DEFAULT
        life = its.life_days != _DEFAULT.life_days
        inactivity = its.inactivity_seconds != _DEFAULT.inactivity_seconds
        return cls(
            its.inactivity_seconds if inactivity else idle_timeout_seconds,
            its.life_days * DAY_SECONDS if life else lifetime_seconds,
            its.stop_grace_seconds,
        )

    def overdue(self, *, created: datetime, last_sign: datetime | None, now: datetime) -> Reason | None:
        """Return why a Movement is over at `now`, if it is. All times are by the clock of the store.

        `last_sign` is when something last moved in it; None while it is paused, or waits for its first worker.
        """
        if now - created > timedelta(seconds=self.life_seconds):
            return Reason.TOO_OLD
        if last_sign is not None and now - last_sign > timedelta(seconds=self.inactivity_seconds):
            return Reason.NO_PROGRESS
        return None


def may_rerun(settled: datetime, now: datetime, rerun_days: int) -> bool:
    """Return whether a Movement that settled at this time may be run again now."""
    return now - settled <= timedelta(days=rerun_days)
