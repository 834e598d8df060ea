"""The model of a running Movement: what is done, what is left, and the time that this takes, as a range.

The export reads one group after another; the Event Files that it stores wait in lanes until an importer loads them, while
the export goes on. What is left takes as long as the longer of the two: the export and the last files after it, or the
files that wait, on the importers there are. The pace of late counts a little: it knows how the two hinder each other. It takes
not less than the longest lane. Then the destination makes indexes, and checks foreign keys. Nothing is estimated while it is
not known how many rows are to come, or before enough of either kind was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.progress.rates import Rate
from pipeline.domain.progress.work import Expected, Group, Waiting, Work, units_of, usual

SHOWN_FROM_SECONDS, SHOWN_FROM_PERCENT, LEAST_SECONDS = 20.0, 5, 5.0
"""An estimate is shown once the Movement has worked for so long, or is so far; but not in the first seconds."""
STALLED_AFTER_GAPS, STALLED_SECONDS = 3.0, 30.0
"""A Movement is stalled when nothing has moved for three times its longest usual pause, and at least this long."""
LEAST_DOUBT, UNSEEN_DOUBT, EXPORTING_DOUBT = 0.10, 0.35, 0.10
PACE_SHARE, DISAGREEING_DOUBT = 0.25, 0.10
MOST_DOUBT, DRIFT_SHARE = 0.75, 0.75
"""How far an estimate may be off, as a share of it: at least; more for work of which nothing was measured yet; more while
the export runs, after which the importers have its processor too; more if the pace of late says otherwise, which counts for
a quarter; and by three quarters of how far the ends that were foreseen on the way are off from the one foreseen now."""
MEASURED_SAMPLES, MEASURED_SHARE = 2, 0.02
"""A group has a rate of its own from two measurements on. Nothing is known before this share of all was read, and of all was
loaded: a table of one row says nothing of another."""
PASS_SHARE, PASS_DOUBT, OVERDUE_SHARE = 0.25, 0.5, 0.25
"""At the end, each pass over the rows of a stream, to make an index or check a foreign key, takes about this share of the time
in which they were moved, or half as long, or half as long again. Once it has taken longer, a quarter of that is still left."""


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """The range of seconds that a Movement still takes."""

    low: float
    high: float

    @property
    def likely(self) -> float:
        """The middle of the range."""
        return (self.low + self.high) / 2


class ProgressModel:
    """Notes what happens, with the time of each event in seconds of any clock that does not go back.

    `percent` is how far the Movement was when it `began` here. While something is paused, only what happens moves the time
    on, not the clock.
    """

    def __init__(self, began: float, percent: int = 0) -> None:
        self._began = self._latest = self._read_at = self._imported_at = self._paced_at = began
        self._groups: dict[Label, Group] = {}
        self._waiting: dict[EventFileId, Waiting] = {}
        self._parallel, self._pace = Rate(), Rate()
        self._gap, self._loaded, self._busy = 0.0, 0.0, 0
        self._largest, self._in_order, self._has_changed = 0.0, False, False
        self._percent = self._percent_before = percent
        self._paused = False
        self._passes: Mapping[StreamName, int] = {}
        self._finishing: float | None = None
        self._foreseen: dict[int, tuple[float, float]] = {}

    # What happens -----------------------------------------------------------------------------------------------------

    def plan(self, label: Label, streams: Sequence[StreamName]) -> None:
        """Note that these streams of a group are to be read, after those of the groups before."""
        group = self._groups.pop(label, None) or Group()
        group.streams = frozenset(streams)
        self._groups[label] = group

    def expect(self, label: Label, stream: StreamName, rows: int, content_bytes: int | None = None) -> None:
        """Note about how many rows of a stream are to be read, and the bytes of the contents that they name."""
        self._group(label).expected[stream] = Expected(rows, content_bytes)

    def passes(self, passes: Mapping[StreamName, int]) -> None:
        """Note how often the destination goes over all rows of a stream at the end: for indexes and foreign keys."""
        self._passes = passes

    def finishing(self, at: float) -> None:
        """Note that all is imported, and the destination makes indexes and constraints."""
        self._finishing = at if self._finishing is None else self._finishing
        self._note(at)

    def read(
        self,
        label: Label,
        rows: int,
        at: float,
        *,
        changed: bool = True,
        content_bytes: int = 0,
        unchanged_bytes: int = 0,
    ) -> None:
        """Note that more rows of a group were read. `changed`: some of them become records.

        Contents that they name were stored, of `content_bytes`, or had been before, of `unchanged_bytes`.
        """
        group, units = self._group(label), units_of(rows, content_bytes)
        group.rows += rows
        group.units += units
        group.unchanged += units_of(0, unchanged_bytes)
        group.gathered += units if changed else 0
        self._has_changed |= changed
        for rate in (group.reading, group.reading_new) if changed else (group.reading,):
            rate.add(units, at - self._read_at)
        self._keep_pace(at - self._read_at, at)
        self._read_at = at
        self._note(at)

    def stored(
        self, label: Label, file: EventFileId, records: int, at: float, *, content_bytes: int = 0, new: bool = True
    ) -> None:
        """Note that an Event File is stored, which is to be imported, with the contents that it names.

        If it is not `new`, an earlier Movement has stored it: then no row that was read here is in it.
        """
        group, units = self._group(label), units_of(records, content_bytes)
        if new:
            group.stored += units
            group.gathered = max(0.0, group.gathered - units)
        group.in_order = self._in_order = file.phase is Phase.INCREMENTAL
        self._largest = max(self._largest, units)
        if not self._waiting:
            self._imported_at = at
        self._waiting.setdefault(file, Waiting(label, units))
        self._note(at)

    def completed(self, label: Label, at: float) -> None:
        """Note that a group is read."""
        group = self._group(label)
        group.complete, group.gathered = True, 0.0
        group.reading_to_come.lose(at - self._read_at)  # what a group takes besides its rows
        self._read_at = at
        self._note(at)

    def imported(self, label: Label, file: EventFileId, records: int, seconds: float, at: float) -> None:
        """Note that an Event File was imported, which took so long by itself."""
        units = self._waiting.pop(file, Waiting(label, records)).units
        self._loaded += units
        self._group(label).loading.add(max(1, units), seconds)
        self._parallel.add(max(seconds, 1e-6), at - self._imported_at)
        self._keep_pace(seconds, at)
        self._imported_at = at
        self._note(at)

    def _group(self, label: Label) -> Group:
        return self._groups.setdefault(label, Group())

    def _keep_pace(self, seconds: float, at: float) -> None:
        """Note that one worker has done work that took these seconds, since the last work was noted."""
        if seconds > 0:
            self._pace.add(max(seconds, 1e-6), max(0.0, at - self._paced_at))
            self._paced_at = max(at, self._paced_at)

    def ended(self, file: EventFileId, at: float) -> None:
        """Note that an Event File is not going to be imported: it failed, or was imported before."""
        self._waiting.pop(file, None)
        self._note(at)

    def busy(self, at: float, *, is_over: bool) -> None:
        """Note that something takes long, in which nothing else is noted, or that it is over."""
        self._busy += -1 if is_over else 1
        self._note(at)

    def moved(self, at: float) -> None:
        """Note that something moved, which is no sign of how much is left."""
        self._note(at)

    def waiting(self, label: Label, files: int) -> None:
        """Note that this number of Event Files of a group is to be imported. The earliest others were imported before."""
        waiting = [file for file, one in self._waiting.items() if one.group == label]
        for file in waiting[: max(0, len(waiting) - files)]:
            del self._waiting[file]

    def pause(self, at: float, *, is_paused: bool) -> None:
        """Note whether something that is left is paused. A time in which nothing moved because of that counts for nothing."""
        if self._paused and not is_paused:
            still = max(0.0, at - self._latest)
            self._began += still
            self._latest += still
            self._read_at += still
            self._imported_at += still
            self._paced_at += still
        self._paused = is_paused

    def _note(self, at: float) -> None:
        self._gap = max(self._gap * 0.99, at - self._latest)
        self._latest = max(self._latest, at)

    # What follows from it ---------------------------------------------------------------------------------------------

    def stalled_seconds(self, at: float) -> float:
        """Return for how long nothing has moved, if that is unusual and nothing is paused or busy; else 0."""
        if self._busy or self._finishing is not None:
            return 0.0
        still = self._until(at) - self._latest
        return still if still > max(STALLED_SECONDS, STALLED_AFTER_GAPS * self._gap) else 0.0

    def look(self, at: float) -> tuple[TimeLeft | None, int | None]:
        """Return `time_left`, and `percent` if it can be known, estimated once for both: many groups take long."""
        found = self._estimate(at)
        return self._time_left(at, found), None if found is None else self._percent_of(at, found)

    def time_left(self, at: float) -> TimeLeft | None:
        """Return the time that the Movement still takes; None while it cannot be known, or something is paused."""
        return self._time_left(at, self._estimate(at))

    def _time_left(self, at: float, found: tuple[float, float] | None) -> TimeLeft | None:
        elapsed = self.worked(at)
        if found is None or self._paused:
            return None
        likely, doubt = found[0], self._with_drift(elapsed, *found)
        is_early = elapsed < SHOWN_FROM_SECONDS and 100 * _share(elapsed, likely) < SHOWN_FROM_PERCENT
        if is_early or elapsed < LEAST_SECONDS:
            return None
        if self._finishing is None:
            likely = max(0.0, likely - min(at - self._latest, 0.5 * likely))
        return TimeLeft(likely * (1 - doubt), likely * (1 + doubt))

    def _with_drift(self, elapsed: float, likely: float, doubt: float) -> float:
        """Return how far the end may be off, by how far the ends that were foreseen on the way are off from it.

        Times are those that were worked. Of each percent, the first end that was foreseen there counts.
        """
        self._foreseen.setdefault(int(100 * _share(elapsed, likely)), (elapsed, elapsed + likely))
        drifts = [abs(end - elapsed - likely) / (end - at) for at, end in self._foreseen.values() if end > at]
        return min(MOST_DOUBT, max(doubt, DRIFT_SHARE * sum(drifts) / len(drifts))) if drifts else doubt

    def percent(self, at: float) -> int:
        """Return the share of the whole time that has passed, in percent, below 100. It never falls.

        Of a Movement that is carried on, the time since then has its share of the percents that were left.
        """
        return self._percent_of(at, self._estimate(at))

    def _percent_of(self, at: float, found: tuple[float, float] | None) -> int:
        if found is not None:
            percent = self._percent_before + (100 - self._percent_before) * _share(self.worked(at), found[0])
            self._percent = max(self._percent, min(99, int(percent)))
        return self._percent

    def worked(self, at: float) -> float:
        """Return for how many seconds the Movement has been worked on here, without pauses."""
        return self._until(at) - self._began

    def _until(self, at: float) -> float:
        return self._latest if self._paused else at

    def _estimate(self, at: float) -> tuple[float, float] | None:
        """Return the likely seconds left and how far that may be off; None if something is not known."""
        works = self._works()
        if works is None:
            return None
        if any(work.loading for work in works) and not self._parallel.is_known:
            return None
        at_once = max(1.0, self._parallel.units / self._parallel.seconds) if self._parallel.seconds else 1.0
        alone = (1 + 1 / at_once) / 2  # a file that loads beside others may wait for them: alone it takes less
        read = lane = 0.0
        loaded = sum(work.waiting for work in works) / at_once
        for work in works:
            begin, read = read, read + work.reading
            if work.in_order:
                lane = max(lane, max(work.waiting, begin if work.coming else 0.0) + work.coming)
            lane = max(lane, (read if work.coming else 0.0) + work.file * alone)
            if work.coming:
                loaded = max(loaded, begin) + work.coming / at_once
        total = sum(work.reading + work.loading for work in works)
        doubt = sum(work.doubt_of_all for work in works) / total if total else LEAST_DOUBT
        planned, paced = max(read, loaded), self._at_this_pace(total, at_once)
        likely = max(lane, planned ** (1 - PACE_SHARE) * paced**PACE_SHARE)
        if planned and paced:
            doubt += DISAGREEING_DOUBT * abs(math.log(planned / paced))
        doubt += EXPORTING_DOUBT if read else 0.0
        end = self._end(likely, at)
        if end:
            doubt = (likely * doubt + end * PASS_DOUBT) / (likely + end)
        return likely + end, min(MOST_DOUBT, doubt)

    def _end(self, left: float, at: float) -> float:
        """Return how long it takes to finish the destination, once what is `left`, in seconds, is moved."""
        groups = list(self._groups.values())
        rows = sum(group.all_rows for group in groups)
        passed = sum(self._passes.get(it, 0) * one.rows for group in groups for it, one in group.expected.items())
        moved = (self._latest if self._finishing is None else self._finishing) - self._began + left
        end = PASS_SHARE * moved * passed / rows if rows else 0.0
        if self._finishing is None:
            return end
        gone = at - self._finishing
        return max(end - gone, OVERDUE_SHARE * gone if end else 0.0)

    def _at_this_pace(self, left: float, at_once: float) -> float:
        """Return how long the work that is `left`, in seconds of one worker, takes at the pace of late.

        Half of the files in hand counts as done. The rates do not know how the export and the importers hinder each other;
        the pace does, while both go on.
        """
        in_hand = list(self._waiting.values())[: round(at_once)]
        done = sum(one.units * self._groups[one.group].loading.mean for one in in_hand) / 2
        if not self._pace.seconds:
            return left
        return max(0.0, left - done) * self._pace.seconds / (self._pace.units + done)

    def _works(self) -> list[Work] | None:
        """Return what is left of each group, in the order of the export; None if the rows of one are not known."""
        groups = list(self._groups.values())
        usual_reading = usual([group.reading_to_come for group in groups])
        usual_loading = usual([group.loading for group in groups])
        units, stored = sum(group.units for group in groups), sum(group.stored for group in groups)
        if self._has_changed and not stored:
            return None  # the first records are still gathered: nobody knows how many of the rows they are
        share = stored / units if units else 1.0
        waiting: dict[Label, float] = {}
        for one in list(self._waiting.values()):
            waiting[one.group] = waiting.get(one.group, 0) + one.units
        found = []
        for label, group in list(self._groups.items()):
            if (left := group.left) is None:
                return None
            rate = group.reading_to_come
            measured = rate.samples >= MEASURED_SAMPLES
            reading = rate.mean if measured else usual_reading
            coming = group.coming(left, share)
            loading = group.loading.mean if group.loading.is_known else usual_loading
            if (left and reading is None) or (loading is None and (coming or label in waiting)):
                return None
            loading = loading or 0.0
            found.append(
                Work(
                    reading=left * (reading or 0.0),
                    reading_doubt=LEAST_DOUBT + rate.doubt if measured else UNSEEN_DOUBT,
                    waiting=waiting.get(label, 0) * loading,
                    coming=coming * loading,
                    file=group.last(coming, waiting.get(label, 0), self._largest) * loading,
                    loading_doubt=LEAST_DOUBT + group.loading.doubt if group.loading.is_known else UNSEEN_DOUBT,
                    in_order=group.in_order if group.stored else self._in_order,
                    units=coming + waiting.get(label, 0),
                )
            )
        return found if found and self._is_measured(units, found) else None

    def _is_measured(self, units: float, works: Sequence[Work]) -> bool:
        """Return whether enough was read and loaded for the rates to mean something."""
        loaded, left = self._loaded, sum(work.units for work in works)
        to_read = sum(group.left or 0 for group in list(self._groups.values()))
        return units >= MEASURED_SHARE * (units + to_read) and (not left or loaded >= MEASURED_SHARE * (loaded + left))


def _share(elapsed: float, likely: float) -> float:
    return elapsed / (elapsed + likely) if elapsed + likely > 0 else 0.0
