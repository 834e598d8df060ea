"""What may go wrong at a call of a port, and who decides that it does: a seed, or a list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Protocol


class Kind(StrEnum):
    """The kinds of faults that the docstrings of the ports allow. The value is the text in a story."""

    DIE_BEFORE = "the process is killed before the call"
    DIE_AFTER = "the call takes effect, and the process is killed"
    DIE_HALFWAY = "the process is killed between the two halves of the call"
    DIE_LATE = "the process is killed, and the call takes effect later"
    FAIL_BEFORE = "it fails, and nothing happened"
    FAIL_AFTER = "it takes effect, and the answer is lost"
    FAIL_LATE = "it times out, and takes effect later"
    REFUSE = "it is refused, this once"
    FULL = "the disk is full for a while"
    HANG_BEFORE = "it hangs, then takes effect"
    HANG_AFTER = "it takes effect, and the answer comes late"
    FREEZE_BEFORE = "the process is stopped before the call"
    FREEZE_AFTER = "the call takes effect, and the process is stopped"
    LOSE = "the messages are lost"
    DOUBLE = "the messages come twice"
    DELAY = "the messages come late"
    EMPTY = "the queue is emptied"
    WAIT = "the app asks to wait"
    HALF = "the app takes half of the batch, and fails"
    CHANGE = "the app's data changes"


DEADLY = (Kind.DIE_BEFORE, Kind.DIE_AFTER, Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER)
READING = (*DEADLY, Kind.FAIL_BEFORE, Kind.HANG_BEFORE, Kind.HANG_AFTER)
ASKING = (*READING, Kind.FAIL_AFTER)
STREAMING = (*ASKING, Kind.DIE_HALFWAY, Kind.FULL)
WRITING = (*STREAMING, Kind.FAIL_LATE, Kind.DIE_LATE)
SENDING = (*ASKING, Kind.FAIL_LATE, Kind.DIE_LATE, Kind.DIE_HALFWAY, Kind.FULL)
WITHIN = (Kind.DIE_BEFORE, Kind.FAIL_BEFORE, Kind.HANG_BEFORE, Kind.FREEZE_BEFORE)
LOSING = (Kind.LOSE, Kind.DOUBLE, Kind.DELAY, Kind.EMPTY)
OF_AUTHORS = (Kind.WAIT, Kind.HALF, Kind.CHANGE)
"""What only befalls the functions of an Exporter or an Importer."""
_OF_METHODS: Mapping[str, tuple[Kind, ...]] = {
    "put": WRITING,
    "replace": STREAMING,  # without a condition: people read it, and it may be out of date
    "upload": STREAMING,
    "delete": WRITING,
    "read": WITHIN,
    "send": SENDING,
    "keep": LOSING,
    "receive": ASKING,
    "extend": SENDING,
    "acknowledge": SENDING,
    "reject": SENDING,
    "open_snapshot": ASKING,
    "load": (*WRITING, Kind.REFUSE),
    "mark": DEADLY,
    "retry_rejected": ASKING,
    "finish": ASKING,
    "create": (*ASKING, Kind.WAIT),
    "find": (*ASKING, Kind.WAIT),
    "update": (*ASKING, Kind.WAIT),
    "remove": (*ASKING, Kind.WAIT),
    "apply": (*ASKING, Kind.WAIT, Kind.HALF),
    "stage": (*ASKING, Kind.WAIT),
    "publish": (*ASKING, Kind.WAIT),
    "page": (*ASKING, Kind.WAIT, Kind.CHANGE),
    "fetch": (*ASKING, Kind.WAIT, Kind.CHANGE),
    "await": (*ASKING, Kind.CHANGE),
    "leave": (*DEADLY, Kind.FAIL_AFTER, Kind.HANG_AFTER, Kind.CHANGE),
    "commit": (*ASKING, Kind.WAIT),
    "pause": (*DEADLY, Kind.HANG_BEFORE, Kind.HANG_AFTER, Kind.CHANGE),
}
NEED_ROOM = frozenset({"put", "replace", "upload", "send", "load"})
"""The methods that a full disk rejects."""


def method_of(call: str) -> str:
    """Return the method of a call: `put` of `store.put flows/crm/flow.json`."""
    return call.split()[0].split(".")[-1]


def kinds_of(call: str) -> tuple[Kind, ...]:
    """Return what may go wrong at a call. Most methods read."""
    return _OF_METHODS.get(method_of(call), READING)


_TIMED = frozenset(Kind) - {
    Kind.DIE_BEFORE,
    Kind.DIE_AFTER,
    Kind.DIE_HALFWAY,
    Kind.FAIL_BEFORE,
    Kind.FAIL_AFTER,
    Kind.HALF,
}
SHORT_SECONDS = (0.0, 0.03, 0.3, 0.7, 2.0, 6.0)
_FREEZING = frozenset({Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER})


@dataclass(frozen=True, slots=True)
class Point:
    """One call of a port. Its name is the same in a run with fewer faults."""

    process: str
    call: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a point. `seconds` is for how long, where that matters."""

    point: Point
    kind: Kind
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.seconds:g}s)" if self.kind in _TIMED else self.kind.value


class Dealer(Protocol):
    """Decides about each call of a port. `dealt` are the faults so far, in order."""

    dealt: list[Fault]

    def deal(self, process: str, call: str, kinds: Sequence[Kind]) -> Fault | None:
        """Return what goes wrong at this call, one of `kinds`; None when nothing does."""
        ...


_DECISIVE = re.compile(r"/movement\.json|/groups/|destination\.(?!begin)|\.keep$")
"""Calls that decide something: a fault there shows more."""
_DECISIVE_WEIGHT = 4.0
_ASKS = re.compile(r"app\.(?!pause)")
"""Calls of an author's functions that ask an app."""
_APP_WEIGHT = 12.0


@dataclass
class SeededDealer:
    """Deals up to `most` faults of the kinds that this seed favours, at about one call in `rarity`."""

    random: Random
    most: int
    rarity: float
    favoured: frozenset[Kind]
    freeze_seconds: Sequence[float]
    dealt: list[Fault] = field(default_factory=list)
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def deal(self, process: str, call: str, kinds: Sequence[Kind]) -> Fault | None:
        self._seen[process, call] += 1
        weight = _DECISIVE_WEIGHT if _DECISIVE.search(call) else _APP_WEIGHT if _ASKS.match(call) else 1.0
        if len(self.dealt) >= self.most or self.random.random() * self.rarity >= weight:
            return None
        possible = [kind for kind in kinds if kind in self.favoured]
        if not possible:
            return None
        kind = self.random.choice(possible)
        seconds = self.random.choice(self.freeze_seconds if kind in _FREEZING else SHORT_SECONDS)
        self.dealt.append(Fault(Point(process, call, self._seen[process, call]), kind, seconds))
        return self.dealt[-1]


_THEMES = (
    (Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER),
    (Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER, Kind.DIE_AFTER),
    (Kind.DIE_BEFORE, Kind.DIE_AFTER, Kind.DIE_HALFWAY, Kind.DIE_LATE),
    (Kind.FAIL_BEFORE, Kind.FAIL_AFTER, Kind.FAIL_LATE, Kind.HANG_BEFORE, Kind.HANG_AFTER),
    (Kind.LOSE, Kind.DOUBLE, Kind.DELAY, Kind.EMPTY, Kind.HANG_BEFORE),
    (Kind.FULL,),
    (Kind.REFUSE,),
)


def _favoured(random: Random) -> frozenset[Kind]:
    """A theme, or some kinds at random."""
    kinds = [kind for kind in Kind if kind not in OF_AUTHORS]
    if random.random() < 0.5:
        return frozenset(random.choice(_THEMES))
    return frozenset(random.sample(kinds, random.choice((2, 3, 5, len(kinds)))))


def seeded_dealer(
    random: Random, freeze_seconds: Sequence[float], kinds: frozenset[Kind] = frozenset()
) -> SeededDealer:
    """Return the dealer of a seed, which favours a few kinds of faults: among many kinds the effect of one is hard to see.

    With `kinds`, it favours those, and deals them often.
    """
    if kinds:
        return SeededDealer(random, 8, random.choice((8.0, 20.0)), kinds, freeze_seconds)
    favoured = _favoured(random)
    most, rarity = random.choice((1, 2, 3, 4, 6, 8)), random.choice((8.0, 20.0, 50.0, 100.0))
    return SeededDealer(random, most, rarity, favoured, freeze_seconds)


class ScriptedDealer:
    """Deals the faults of a list, each at its point, and no others."""

    def __init__(self, script: Sequence[Fault]) -> None:
        self._script = {fault.point: fault for fault in script}
        self._seen: Counter[tuple[str, str]] = Counter()
        self.dealt: list[Fault] = []

    def deal(self, process: str, call: str, kinds: Sequence[Kind]) -> Fault | None:
        self._seen[process, call] += 1
        fault = self._script.get(Point(process, call, self._seen[process, call]))
        if fault is None or fault.kind not in kinds:
            return None
        self.dealt.append(fault)
        return fault
