"""What must hold of starts that are queued: each becomes one Movement, or is taken back, and events tell of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.outbox.event import EventType
from tests.simulation.model.happenings import Happenings
from tests.simulation.model.stored import Must


@dataclass
class Starts:
    """All starts that were queued, by Flow and moment; `begun` has the Movement of each."""

    happenings: Happenings
    must: Must
    begun: dict[tuple[FlowName, datetime], int] = field(default_factory=dict)
    flows: dict[FlowName, Flow] = field(default_factory=dict)

    def waiting(self, flow: FlowName) -> bool:
        """Return whether a start waits."""
        return flow in self.flows and self.flows[flow].queued is not None

    def changed(self, flow: Flow) -> None:
        """A Flow was stored. A start that waits no more was told of, and has begun or was taken back."""
        before, self.flows[flow.name] = self.flows.get(flow.name), flow
        gone = None if before is None or before.queued == flow.queued else before.queued
        if gone is None:
            return
        what = f"the start that was queued at {gone.when} is gone"
        told = (flow.name, 0, EventType.START_QUEUED, gone.when.isoformat()) in self.happenings.events
        self.must(told, f"{what}, and no event tells of it")
        withdrawn = any(
            event.type is EventType.START_WITHDRAWN and event.data["queued"] == gone.when.isoformat()
            for event in self.happenings.events.values()
        )
        self.must(withdrawn or (flow.name, gone.when) in self.begun, f"{what}, and no Movement has come of it")

    def began(self, movement: Movement) -> None:
        """A Movement was stored."""
        if movement.queued is not None:
            number = self.begun.setdefault((movement.flow, movement.queued), movement.number)
            self.must(number == movement.number, f"Movements {number} and {movement.number} are of one queued start")

    def check_refused(self, movements: Mapping[tuple[FlowName, int], Movement]) -> None:
        """Check at the end that an event tells of each Movement whose destination has refused everything."""
        for (flow, number), movement in movements.items():
            since = "" if movement.refused_since is None else movement.refused_since.isoformat()
            told = (flow, number, EventType.DESTINATION_REFUSES, since) in self.happenings.events
            self.must(told or not since, f"no event tells that the destination of Movement {number} refuses everything")
