"""The events of a change of a Movement."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.wish import Want, Wish
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.event import EventType
from pipeline.domain.outbox.transitions import due_of, told

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABEL = Label("b")


def test_two_wishes_of_one_moment_are_two_events() -> None:
    paused = replace(Movement(FlowName("crm"), 3, NOW, NOW), group_wishes={LABEL: Wish(Want.PAUSE, when=NOW)})
    stopped = replace(paused, group_wishes={LABEL: Wish(Want.STOP, when=NOW)})
    (event,) = told(replace(stopped, due=due_of(paused, stopped)))
    assert (event.type, event.subject) == (EventType.GROUP_STOPPED, f"b {NOW.isoformat()}")
    assert due_of(stopped, stopped) == ()
