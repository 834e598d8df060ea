"""What a person wants of a Movement: that it runs, pauses or stops."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Want(StrEnum):
    """What is wanted."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted, by whom, since when, why, and until when. After `until`, a pause has ended by itself.

    `changed` is when a pause was given another end or reason, None if it was not; `who` is who has said so last.
    """

    want: Want = Want.RUN
    who: str = ""
    when: datetime | None = None
    why: str = ""
    until: datetime | None = None
    changed: datetime | None = None

    @property
    def said(self) -> datetime | None:
        """When this was last said."""
        return self.changed or self.when

    def is_over(self, now: datetime) -> bool:
        """Return whether this is a pause that has ended by itself."""
        return self.want is Want.PAUSE and self.until is not None and now >= self.until

    def at(self, now: datetime) -> Want:
        """Return what is wanted at this time."""
        return Want.RUN if self.is_over(now) else self.want

    def __str__(self) -> str:
        parts = [f"by {self.who}"] if self.who else []
        if self.said is not None:
            parts.append(f"at {self.said:%Y-%m-%d %H:%M:%S} UTC")
        if self.when is not None and self.changed is not None:
            parts.append(f"since {self.when:%Y-%m-%d %H:%M:%S} UTC")
        if self.until is not None:
            parts.append(f"until {self.until:%Y-%m-%d %H:%M:%S} UTC")
        if self.why:
            parts.append(f"because: {self.why}")
        return ", ".join(parts)


NO_WISH = Wish()
