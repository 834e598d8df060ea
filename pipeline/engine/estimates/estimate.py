"""How far a Movement is that one process does alone: by time where that can be known, else by what is done."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import Label
from pipeline.domain.progress.model import ProgressModel
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.estimates.group_tally import GroupEvent, GroupTally
from pipeline.engine.estimates.noted_events import note_event
from pipeline.ports.reporter import Event, MovementBegun


class Estimate:
    """Notes the events of a Movement, with times of any clock that does not go back.

    `percent` is how far the Movement was when it `began` here: less is never shown.
    """

    def __init__(self, began: float, percent: int = 0) -> None:
        self._model = ProgressModel(began, percent)
        self._groups: dict[Label, GroupTally] = {}
        self._paused: tuple[Label, ...] = ()
        self._percent = percent

    def note(self, event: Event, at: float) -> None:
        """Note an event."""
        note_event(self._model, event, at)
        if isinstance(event, MovementBegun):
            for label in event.labels:
                self._group(label)
        elif isinstance(event, GroupEvent):
            self._group(event.label).count(event)

    def note_left(self, entries: Sequence[FileEntry], at: float) -> None:
        """Note Event Files of earlier Movements that are to be imported in this one."""
        for entry in entries:
            self._model.stored(entry.label, entry.id, entry.upserts + entry.deletes, at, new=False)

    def pause(self, groups: Sequence[Label], at: float) -> None:
        """Note which groups people have paused. Those that are done matter no more."""
        paused = tuple(label for label in groups if not self._group(label).done)
        if paused or self._paused:
            self._model.pause(at, is_paused=bool(paused))
        self._paused = paused

    def _group(self, label: Label) -> GroupTally:
        return self._groups.setdefault(label, GroupTally(label))

    def worked(self, at: float) -> float:
        """Return for how many seconds the Movement has been worked on here, without pauses."""
        return self._model.worked(at)

    def percent(self, at: float) -> int:
        """Return the progress in percent, below 100. It never goes down."""
        return self._note_percent(self._model.look(at)[1])

    def _note_percent(self, known: int | None) -> int:
        """Return the progress: what is `known`, or else by what is done."""
        if known is not None:
            self._percent = max(self._percent, known)
        elif groups := self._groups.values():
            fraction = sum(group.fraction for group in groups) / len(groups)
            self._percent = max(self._percent, min(99, int(100 * fraction)))
        return self._percent

    def shown(self, at: float) -> ShownProgress:
        """Return what is to be shown."""
        (left, percent), stalled = self._model.look(at), self._model.stalled_seconds(at)
        return ShownProgress(self._note_percent(percent), left, round(stalled, 3), bool(self._paused), self._paused)
