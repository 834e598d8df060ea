"""What an endpoint has got, what is tried again and when: decided here, and stored by the notifier.

An event that is not delivered is tried again after growing pauses. If the receiver takes nothing at all, it counts as
down: new events wait in the outbox, and only the few that were tried are tried again. So a dead receiver costs little,
and nothing is lost: when it takes an event, the waiting ones follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.endpoint import Profile

DOWN_AFTER = 5
"""A receiver that has failed this often in a row is down."""
PROBE = timedelta(hours=10)
"""A receiver that is down is tried this often after all tries of the events."""
DISABLE_AFTER = timedelta(days=5)
"""A receiver that has taken nothing for this long is disabled."""
LONGEST_HOLD = timedelta(days=1)
"""A receiver may ask for at most this pause."""
MAX_RETRIES = 1_000
"""Events that are tried again, at most: then no new ones are taken."""
MAX_GIVEN_UP = 1_000
"""Of this many events that were given up, the keys are kept."""
JITTER = 0.2
_REASON_CHARACTERS = 1_000

Jitter = Callable[[], float]
"""Returns a number from -1 to 1."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has taken the event."""


@dataclass(frozen=True, slots=True)
class NotDelivered:
    """The receiver has not taken the event, and why, in a sentence.

    `gone`: it wants no more events. `retry_after`: it wants none for this time.
    """

    reason: str
    gone: bool = False
    retry_after: timedelta | None = None


Answer = Delivered | NotDelivered


@dataclass(frozen=True, slots=True)
class Retry:
    """An event that was not delivered: how often it was tried, and when it is tried next."""

    key: ObjectKey
    tries: int
    due: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Position:
    """What was taken of the outbox of a Flow: all parts of Movements before `movement` and of days before `day`, and of
    the later parts the events with these ids."""

    movement: int = 1
    day: str = ""
    taken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deliveries:
    """All that is known of the deliveries to one endpoint. `worker` is the notifier that serves it."""

    positions: Mapping[FlowName, Position] = field(default_factory=dict)
    retries: tuple[Retry, ...] = ()
    given_up: tuple[ObjectKey, ...] = ()
    delivered: int = 0
    failures: int = 0
    failing_since: datetime | None = None
    hold_until: datetime | None = None
    last_delivery: datetime | None = None
    last_failure: str = ""
    worker: str = ""

    @property
    def is_down(self) -> bool:
        """Whether the receiver has taken nothing for several tries."""
        return self.failures >= DOWN_AFTER

    def takes_new(self, now: datetime) -> bool:
        """Whether new events are sent now."""
        held = self.hold_until is not None and now < self.hold_until
        return not self.is_down and not held and len(self.retries) < MAX_RETRIES

    def due(self, now: datetime) -> Sequence[Retry]:
        """Return the events to try again now, the oldest first."""
        if self.hold_until is not None and now < self.hold_until:
            return ()
        return sorted((retry for retry in self.retries if retry.due <= now), key=lambda retry: retry.due)

    @property
    def next_due(self) -> datetime | None:
        """When an event is tried again; None if none is."""
        due = min((retry.due for retry in self.retries), default=None)
        return due if due is None or self.hold_until is None else max(due, self.hold_until)

    def must_be_disabled(self, now: datetime) -> bool:
        """Whether the receiver has taken nothing for too long."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER


def after(
    state: Deliveries, key: ObjectKey, answer: Answer, profile: Profile, now: datetime, jitter: Jitter
) -> Deliveries:
    """Return the state after a try to deliver an event."""
    before = next((retry for retry in state.retries if retry.key == key), None)
    others = tuple(retry for retry in state.retries if retry.key != key)
    if isinstance(answer, Delivered):
        return _after_delivery(replace(state, retries=others), profile, now)
    tries = 1 if before is None else before.tries + 1
    reason = answer.reason[:_REASON_CHARACTERS]
    hold = state.hold_until
    if answer.retry_after is not None:
        hold = now + min(max(answer.retry_after, timedelta(0)), LONGEST_HOLD)
    failed = replace(
        state,
        failures=state.failures + 1,
        failing_since=state.failing_since or now,
        hold_until=hold,
        last_failure=reason,
    )
    if tries < profile.tries:
        pause = timedelta(seconds=profile.pauses[tries - 1] * (1 + JITTER * jitter()))
        return replace(failed, retries=(*others, Retry(key, tries, now + pause, reason)))
    if failed.is_down:  # a probe, and one of those that follow when the receiver takes events again
        return replace(failed, retries=(*others, Retry(key, tries, now + PROBE * (1 + JITTER * jitter()), reason)))
    return replace(failed, retries=others, given_up=(*state.given_up, key)[-MAX_GIVEN_UP:])


def _after_delivery(state: Deliveries, profile: Profile, now: datetime) -> Deliveries:
    """The receiver takes events: those that were tried to the end while it was down are tried once more."""
    retries = state.retries
    if state.failing_since is not None:
        retries = tuple(replace(one, due=now) if one.tries >= profile.tries else one for one in retries)
    return replace(
        state,
        retries=retries,
        delivered=state.delivered + 1,
        failures=0,
        failing_since=None,
        hold_until=None,
        last_delivery=now,
        last_failure="",
    )


def with_taken(state: Deliveries, flow: FlowName, part: str, event: str) -> Deliveries:
    """Return the state after an event was taken from the outbox of a Flow: delivered, or to be tried again."""
    position = state.positions.get(flow, Position())
    taken = {**position.taken, part: (*position.taken.get(part, ()), event)}
    return replace(state, positions={**state.positions, flow: replace(position, taken=taken)})
