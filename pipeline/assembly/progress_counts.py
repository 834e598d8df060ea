"""A Reporter that counts what a Movement reports, and words for how it goes on.

One thread may add while another one reads: each figure is right, but two of them may not belong to the same moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.domain.progress.model import TimeLeft
from pipeline.domain.progress.shown import NOTHING_SHOWN, ShownProgress
from pipeline.engine.estimates.group_tally import GroupEvent, GroupTally
from pipeline.ports.reporter import (
    BinaryFileStored,
    Event,
    MovementBegun,
    MovementPaused,
    MovementSettled,
    ProgressStored,
    StreamGone,
)
from pipeline.wording import duration, time_left


@dataclass(slots=True)
class Tally:
    """The counts of a Movement: a Reporter. `clock` gives seconds.

    `gone` are streams that the source no longer has, with the numbers of records that are deleted. `shown` is how far the
    Movement is, as its process has stored it last.
    """

    clock: Callable[[], float] = time.monotonic
    flow: str = ""
    movement: int = 0
    resumed: bool = False
    status: str = ""
    groups: dict[str, GroupTally] = field(default_factory=dict)
    bytes_of_binaries: int = 0
    gone: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    shown: ShownProgress = NOTHING_SHOWN

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began = self.clock()

    @property
    def rejected(self) -> int:
        """The rejected records of all groups."""
        return sum(group.rejected for group in list(self.groups.values()))

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return self.clock() - self.began

    @property
    def percent(self) -> int:
        """The progress in percent. It never goes down, and reaches 100 with SUCCESS alone."""
        return 100 if self.status == "SUCCESS" else self.shown.percent

    @property
    def time_left(self) -> TimeLeft | None:
        """The range of seconds that the Movement still takes; None while it cannot be known, or something is paused."""
        return self.shown.left if not self.status else None

    @property
    def stalled_seconds(self) -> float:
        """For how long nothing has moved, if that is unusual; else 0."""
        return self.shown.stalled_seconds if not self.status else 0.0

    def report(self, event: Event) -> None:
        """Count `event`."""
        match event:
            case MovementBegun():
                self.flow, self.movement, self.resumed = event.flow, event.movement, event.resumed
                self.shown = ShownProgress(event.percent)
                for label in event.labels:
                    self.groups.setdefault(label, GroupTally(label))
            case ProgressStored(shown):
                self.shown = shown
            case MovementPaused():
                self.shown = ShownProgress(self.shown.percent, paused=True)
            case BinaryFileStored():
                self.bytes_of_binaries += 0 if event.reused else event.size
            case StreamGone(stream, deletes):
                self.gone[stream] = self.gone.get(stream, 0) + deletes
            case MovementSettled():
                self.status = event.status
            case _ if isinstance(event, GroupEvent):
                group = self.groups.setdefault(event.label, GroupTally(event.label))
                group.latest = self.clock()
                group.began = group.latest if group.began is None else group.began
                group.count(event)
            case _:
                pass


def progress_words(shown: ShownProgress) -> str:
    """Return what keeps a Movement from going on, or the time left as a range; empty if that is not known."""
    if shown.paused_groups:
        return f"paused: group{'s' if len(shown.paused_groups) > 1 else ''} {', '.join(shown.paused_groups)}"
    if shown.paused:
        return "paused"
    if shown.stalled_seconds:
        return f"stalled for {duration(shown.stalled_seconds)}"
    return "" if shown.left is None else time_left(shown.left.low, shown.left.high)
