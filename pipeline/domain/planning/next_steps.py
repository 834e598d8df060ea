"""What can be done about the latest Movement of a Flow: the legal verbs, and the command that moves what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.flows.declaration import Side, Windows
from pipeline.domain.lifecycle.deadlines import may_rerun
from pipeline.domain.lifecycle.table import LEGAL, Facts, Verb, refusal
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement

_NEED_APPROVAL = frozenset({Verb.START, Verb.QUEUE, Verb.RERUN, Verb.RELOAD})


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What can be done about a Movement at a time.

    `flow` is its Flow as it is declared now; None: as it was when the Movement was created. `unapproved` are the sides
    whose approval the Flow requires and does not have.
    """

    movement: Movement
    now: datetime
    flow: Flow | None = None
    unapproved: Sequence[Side] = ()

    @property
    def may_rerun(self) -> bool:
        """Whether its Flow lets it be run again now, if it has not succeeded."""
        it = self.movement
        its, declared = it.windows or Windows(), Windows() if self.flow is None else self.flow.declared.windows
        movable = it.origin is None and not it.compaction and its.reruns and declared.reruns
        return movable and may_rerun(it.original_settled or it.updated, self.now, its.rerun_days)

    @property
    def again(self) -> str:
        """The command that moves what it left, in backquotes."""
        name = shlex.quote(self.movement.flow)
        if self.movement.origin is not None:
            return f"`pipeline flow import {name}`"
        by_workers = self.movement.exporter or not self.movement.attempts
        begun = f"`pipeline start {name}`" if by_workers else f"`pipeline move --flow {name}`"
        command = f"`pipeline rerun {name}`" if self.may_rerun else begun
        return f"{command} (after {self._approve})" if self.unapproved else command

    @property
    def facts(self) -> Facts:
        """The state as the Movement itself knows it, without what its workers show."""
        it = self.movement
        return Facts(
            flow=shlex.quote(it.flow),
            outcome=it.outcome,
            because=it.because,
            attempts=it.attempts,
            wish=it.wish,
            paused=it.groups_that(Want.PAUSE),
            stopped=it.groups_that(Want.STOP),
            refused=it.refused,
            rejected=it.rejected_at_destination,
            rejected_at_source=it.rejections.count,
            again=self.again,
        )

    @property
    def legal(self) -> frozenset[Verb]:
        """The verbs that its status allows, and that would not be refused for another reason."""
        it, flow = self.movement, self.flow
        refused = {
            Verb.RERUN: not self.may_rerun,
            Verb.RETRY: not it.rejected_at_destination,
            Verb.RELOAD: not it.states or it.origin is not None,
            Verb.QUEUE: it.origin is not None or (flow is not None and flow.queued is not None),
        }
        useless = {verb for verb, is_so in refused.items() if is_so} | (_NEED_APPROVAL if self.unapproved else set())
        return LEGAL[it.status_at(self.now)] - useless

    def refusal(self, verb: Verb) -> str | None:
        """Return why a verb is illegal in its status, with the ones that it can be given; None when it is legal."""
        it = self.movement
        why = refusal(verb, it.status_at(self.now), it.flow, it.number, self.legal)
        if why is None or not self.unapproved:
            return why
        return f"{why} A new Movement needs an approval first: {self._approve}."

    @property
    def _approve(self) -> str:
        name = shlex.quote(self.movement.flow)
        return " and ".join(f"`pipeline approve {name} --side {side.value} --by NAME`" for side in self.unapproved)
