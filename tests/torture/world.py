"""One Flow with its app, moved several times under disruptions, and checked after each Movement."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random

from pipeline.domain.movement import Movement, Status
from tests.torture.checks import BrokenError, all_equal, movement_adds_up
from tests.torture.disruptions import Target, choose
from tests.torture.flows import FlowView
from tests.torture.place import Place, State

SETTLE_SECONDS = 180.0
"""How long a Movement may take after the last disruption."""
STARTS = 6
"""An INCOMPLETE Movement is started again; SUCCESS must come within this many starts."""
POLL_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 3.0
"""The next disruption comes after this time even without progress."""


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
        """The app's place."""
        return self.target.places[0]

    def begin(self) -> None:
        """Build the app and connect it."""
        self.source.build(self.content, self.size)
        self._states = [self.source.state()]
        self.flow.connect(*(place.location for place in self.target.places))

    def change(self) -> None:
        """Change the app's data."""
        self.source.change(self.content, max(self.size // 4, 5))
        self._states.append(self.source.state())

    def move(self, kills: int) -> None:
        """Run a Movement to SUCCESS, with up to this many kills on the way, and check the result."""
        self._states = self._states[-1:]
        limit = self.kills + kills
        for _ in range(STARTS):
            movement = self._run_one(limit)
            totals = movement.totals
            self.target.run_log.write(
                f"Movement {movement.number} of {self.flow.name} settled: {movement.status}, "
                f"{totals.files_imported} files imported, {totals.files_skipped} skipped"
            )
            if movement.status is Status.SUCCESS:
                all_equal(self._states, self.target.places[1])
                movement_adds_up(self.flow, movement, self.target.workers)
                return
            self.target.run_log.write(f"  problems: {'; '.join(movement.problems[:2])}")
        raise BrokenError(f"{self.flow.name} is {movement.status} after {STARTS} Movements: {movement.problems[:3]}")

    def _run_one(self, limit: int) -> Movement:
        number = self.flow.start()
        self.target.run_log.write(f"Movement {number} of {self.flow.name} started")
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            movement = self._wait_for_progress(number)
            if movement is not None and movement.settled:
                return movement
            if self.kills < limit:
                self._disrupt()
                deadline = time.monotonic() + SETTLE_SECONDS
        raise BrokenError(f"Movement {number} of {self.flow.name} has not settled in {SETTLE_SECONDS:.0f}s: {movement}")

    def _disrupt(self) -> None:
        random = self.target.random
        if self.changes_meanwhile and random.random() < 0.2:
            self.target.run_log.write("the app changes its data")
            self.change()
        self.kills += choose(self.target)(self.target)

    def _wait_for_progress(self, number: int) -> Movement | None:
        """Wait until another Event File is stored or imported, and a moment longer; return the Movement."""
        workers, begun = self.target.workers, time.monotonic()
        before = workers.progress
        while workers.progress == before and time.monotonic() - begun < LONGEST_WAIT_SECONDS:
            time.sleep(POLL_SECONDS)
            workers.poll()
            movement = self.flow.movement(number)
            if movement is not None and movement.settled:
                return movement
        time.sleep(self.target.random.uniform(0.0, 0.3))
        return self.flow.movement(number)
