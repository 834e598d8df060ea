"""Charts as SVG: bars of the latest Movements, and the records a second of one under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.http.live import Sample
from pipeline.wording import duration

SHOWN = 50
"""How many Movements a chart shows."""
WIDTH, HEIGHT = 300, 100
LEAST_HEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A Movement in a chart; `height` is of 100, and `words` say what it is."""

    number: int
    height: float
    words: str
    is_bad: bool


@dataclass(frozen=True, slots=True)
class BarChart:
    """A chart of Movements, oldest first. `label` says what a person sees in it at a glance."""

    title: str
    label: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class _Settled:
    number: int
    records: int
    seconds: float
    lag: float
    status: str


def movement_charts(events: Sequence[OutboxEvent]) -> Sequence[BarChart]:
    """Return the charts of a Flow: records, records a second, and lag, of its latest Movements that have settled."""
    settled = _settled(events)[-SHOWN:]
    if not settled:
        return []
    rates = {one.number: one.records / one.seconds if one.seconds > 0 else 0.0 for one in settled}
    return [
        _chart("Records", settled, lambda one: one.records, lambda one: f"{one.records:,} records"),
        _chart(
            "Records a second", settled, lambda one: rates[one.number], lambda one: f"{rates[one.number]:,.0f} a second"
        ),
        _chart("Lag from export to import", settled, lambda one: one.lag, lambda one: duration(one.lag)),
    ]


def _chart(
    title: str, settled: Sequence[_Settled], value: Callable[[_Settled], float], words: Callable[[_Settled], str]
) -> BarChart:
    most = max(settled, key=value)
    latest = settled[-1]
    shown = f"the last {len(settled)} Movements" if len(settled) > 1 else "one Movement"
    label = (
        f"{title} of {shown}: {words(latest)} in Movement {latest.number}, the latest; "
        f"at most {words(most)}, in Movement {most.number}"
    )
    bars = [
        Bar(
            one.number,
            max(LEAST_HEIGHT, HEIGHT * value(one) / value(most)) if value(most) else LEAST_HEIGHT,
            f"Movement {one.number}: {words(one)}, {one.status}",
            one.status in ("FAILED", "TIMED_OUT"),
        )
        for one in settled
    ]
    return BarChart(title, label, bars)


def lags(events: Sequence[OutboxEvent]) -> Mapping[str, float]:
    """Return, by the labels of the groups that a Movement has imported, the seconds from their export to their import."""
    exported = {event.subject: event.time for event in events if event.type is EventType.GROUP_EXPORTED}
    return {
        event.subject: (event.time - exported.get(event.subject, event.time)).total_seconds()
        for event in events
        if event.type is EventType.GROUP_IMPORTED
    }


def _settled(events: Sequence[OutboxEvent]) -> Sequence[_Settled]:
    """Return the Movements that have settled. The lag is that of the group that waited longest for its import."""
    by_movement: dict[int, list[OutboxEvent]] = {}
    found = []
    for event in events:
        by_movement.setdefault(event.movement, []).append(event)
        if event.type is EventType.MOVEMENT_SETTLED:
            waited = lags(by_movement[event.movement]).values()
            found.append(_movement(event, max(waited, default=0.0)))
    return found


def _movement(event: OutboxEvent, lag: float) -> _Settled:
    records, seconds = event.data.get("records"), event.data.get("seconds")
    total = sum(records.get(name, 0) for name in ("upserts", "deletes")) if isinstance(records, Mapping) else 0
    took = float(seconds) if isinstance(seconds, int | float) else 0.0
    return _Settled(event.movement, total, took, lag, str(event.data.get("status", "")))


@dataclass(frozen=True, slots=True)
class RateChart:
    """Records a second of a Movement under way: the points of two lines, and what they are now."""

    exported: str
    imported: str
    label: str
    most: float
    minutes: float


def rate_chart(samples: Sequence[Sample]) -> RateChart | None:
    """Return the chart of what was noted so far; None until there are three samples."""
    if len(samples) < 3:
        return None
    pairs = list(pairwise(samples))
    times = [after.at for _, after in pairs]
    rates = {
        "exported": [max(after.exported - before.exported, 0) / (after.at - before.at) for before, after in pairs],
        "imported": [max(after.imported - before.imported, 0) / (after.at - before.at) for before, after in pairs],
    }
    most = max(max(values) for values in rates.values()) or 1.0
    first, span = times[0], (times[-1] - times[0]) or 1.0
    lines = {
        name: " ".join(
            f"{WIDTH * (at - first) / span:.1f},{HEIGHT - HEIGHT * value / most:.1f}"
            for at, value in zip(times, values, strict=True)
        )
        for name, values in rates.items()
    }
    label = f"Records a second: {rates['exported'][-1]:,.0f} exported and {rates['imported'][-1]:,.0f} imported now"
    return RateChart(lines["exported"], lines["imported"], label, most, span / 60)
