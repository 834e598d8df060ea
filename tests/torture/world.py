"""One Flow with its app, moved and moved again while blows fall; checked whenever a Movement has settled."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random

from pipeline.domain.movement import Movement, Status
from tests.torture.blows import Target, choose
from tests.torture.checks import BrokenError, all_equal, movement_adds_up
from tests.torture.flows import FlowView
from tests.torture.place import Place, State
from tests.torture.trees import Tree

SETTLE_SECONDS = 180.0
"""How long a Movement may take once no blows fall any more."""
STARTS = 6
"""A Movement that a blow left INCOMPLETE is started again; it must be SUCCESS within so many."""
POLL_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 3.0
"""A blow falls after so long even where nobody has got on meanwhile."""


@dataclass
class World:
    """An app at `target.places`, and the Flow that moves it. `size` is about the number of rows in each table."""

    target: Target
    flow: FlowView
    size: int
    content: Random
    changes_meanwhile: bool = False
    kills: int = 0
    _states: list[State] = field(default_factory=list)

    @property
    def source(self) -> Place:
        """Where the app is."""
        return self.target.places[0]

    def begin(self) -> None:
        """Build the app and connect it."""
        self.source.build(self.content, self.size)
        self._states = [self.source.state()]
        self.flow.connect(*(place.location for place in self.target.places))

    def change(self) -> None:
        """Let the app be used."""
        self.source.change(self.content, max(self.size // 4, 5))
        self._states.append(self.source.state())

    def move(self, kills: int) -> None:
        """Run a Movement to SUCCESS, killing so many on the way as far as there is time; then check all of it."""
        self._states = self._states[-1:]
        limit = self.kills + kills
        for _ in range(STARTS):
            movement = self._run_one(limit)
            totals = movement.totals
            self.target.diary.tell(
                f"Movement {movement.number} of {self.flow.name} has settled: {movement.status}, "
                f"{totals.files_imported} files imported, {totals.files_skipped} skipped"
            )
            if movement.status is Status.SUCCESS:
                all_equal(self._states, self.target.places[1])
                movement_adds_up(self.flow, movement, self.target.crew)
                return
            self.target.diary.tell(f"  because: {'; '.join(movement.problems[:2])}")
        raise BrokenError(f"{self.flow.name} is {movement.status} after {STARTS} Movements: {movement.problems[:3]}")

    def _run_one(self, limit: int) -> Movement:
        number = self.flow.start()
        self.target.diary.tell(f"Movement {number} of {self.flow.name} is started")
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            movement = self._wait_for_progress(number)
            if movement is not None and movement.settled:
                return movement
            if self.kills < limit:
                self._deal()
                deadline = time.monotonic() + SETTLE_SECONDS
        raise BrokenError(f"Movement {number} of {self.flow.name} has not settled in {SETTLE_SECONDS:.0f}s: {movement}")

    def _deal(self) -> None:
        dice = self.target.dice
        if self.changes_meanwhile and dice.random() < 0.2:
            self.target.diary.tell("the app is used meanwhile")
            self.change()
        self.kills += choose(self.target)(self.target)

    def _wait_for_progress(self, number: int) -> Movement | None:
        """Wait until an Event File more is stored or imported, and a moment longer; return the Movement as it then is."""
        crew, begun = self.target.crew, time.monotonic()
        before = crew.progress
        while crew.progress == before and time.monotonic() - begun < LONGEST_WAIT_SECONDS:
            time.sleep(POLL_SECONDS)
            crew.look()
            movement = self.flow.movement(number)
            if movement is not None and movement.settled:
                return movement
        time.sleep(self.target.dice.uniform(0.0, 0.3))
        return self.flow.movement(number)

    @property
    def is_tree(self) -> bool:
        """Whether it is about files, which have no snapshots."""
        return isinstance(self.source, Tree)
