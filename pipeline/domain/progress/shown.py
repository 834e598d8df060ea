"""How far a Movement is, as people and programs see it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.ids import Label
from pipeline.domain.progress.model import TimeLeft


@dataclass(frozen=True, slots=True)
class ShownProgress:
    """How far a Movement is. `left` is None while it cannot be known, and while something that is left is paused.

    `stalled_seconds` is above 0 when nothing moves, which is unusual. `paused_groups` are those that are paused and not
    done; `paused` says that they are, or that all of the Movement is.
    """

    percent: int = 0
    left: TimeLeft | None = None
    stalled_seconds: float = 0.0
    paused: bool = False
    paused_groups: tuple[Label, ...] = ()


NOTHING_SHOWN = ShownProgress()
