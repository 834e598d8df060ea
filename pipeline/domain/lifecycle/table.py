"""The state machine of a Movement as a pure table: facts and a wish in, status, reason and sentence out; and the legal verbs.

    READY → IN_PROGRESS → SUCCESS | INCOMPLETE | FAILED | TIMED_OUT | CANCELLED      (settled is final)
            IN_PROGRESS ⇄ PAUSED
                        → CANCELLATION_REQUESTED → CANCELLED

Facts and wishes are stored, statuses are not, except for the final one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.domain.lifecycle.status import AT_SOURCE, NONE_LEFT, RERUN, SENTENCES, SETTLED, Reason, Status
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish


class Verb(StrEnum):
    """What a person can do about a Movement, or after it. Each is a command of `pipeline`; QUEUE is `start --queue`."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    START = "start"
    QUEUE = "queue"
    RERUN = "rerun"
    RETRY = "retry"
    RELOAD = "reload"


_RUNNING = frozenset({Verb.PAUSE, Verb.RESUME, Verb.STOP, Verb.QUEUE})
_FINISHED = frozenset({Verb.START, Verb.QUEUE, Verb.RERUN, Verb.RETRY, Verb.RELOAD})

LEGAL: Mapping[Status, frozenset[Verb]] = {
    Status.READY: _RUNNING,
    Status.IN_PROGRESS: _RUNNING,
    Status.PAUSED: _RUNNING | {Verb.RETRY},
    Status.CANCELLATION_REQUESTED: frozenset({Verb.STOP, Verb.QUEUE}),
    Status.SUCCESS: _FINISHED - {Verb.RERUN},
    **dict.fromkeys(RERUN, _FINISHED),
}
"""The verbs that are legal in each status. Those that change nothing, such as pausing the paused, are legal."""

NEXT: Mapping[Status, frozenset[Status]] = {
    Status.READY: frozenset({Status.IN_PROGRESS, Status.PAUSED, Status.CANCELLATION_REQUESTED, Status.CANCELLED})
    | {Status.FAILED, Status.TIMED_OUT},
    Status.IN_PROGRESS: SETTLED | {Status.PAUSED, Status.CANCELLATION_REQUESTED},
    Status.PAUSED: SETTLED | {Status.READY, Status.IN_PROGRESS, Status.CANCELLATION_REQUESTED},
    Status.CANCELLATION_REQUESTED: SETTLED,
    **dict.fromkeys(SETTLED, frozenset()),
}
"""The statuses that may follow each. What is in hand may still end a Movement that is to pause or to stop."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a Movement: stored facts, wishes, and what its workers show.

    `flow` is the name of its Flow as a command takes it. `outcome` is the final status. `in_hand` counts the Event Files
    that live workers import or are about to.
    `rejected` records may be tried again, `rejected_at_source` may not; None: not known. `again` is the command, in
    backquotes, that moves what is missing.
    `silent` names workers that hold work and show no sign of life; `gone` is the process that moved all of it alone, and has
    stopped. `silent_seconds` is the time since the last sign of
    anybody, `patience_seconds` how long that may last. `paused` and `stopped` are groups. `refused` is why the destination
    refuses everything. `grace_ends` is when a Movement that is to stop ends although something is in hand.
    """

    outcome: Status | None = None
    because: Reason = Reason.UNKNOWN
    attempts: int = 0
    wish: Wish = NO_WISH
    paused: Sequence[str] = ()
    stopped: Sequence[str] = ()
    in_hand: int = 0
    working: bool = False
    silent: Sequence[str] = ()
    gone: str = ""
    silent_seconds: float = 0.0
    patience_seconds: float = 120.0
    refused: str = ""
    rejected: int | None = None
    rejected_at_source: int = 0
    again: str = "`pipeline rerun FLOW`"
    life_ends: datetime | None = None
    grace_ends: datetime | None = None
    flow: str = "FLOW"


@dataclass(frozen=True, slots=True)
class State:
    """The status of a Movement with its reason, and a sentence for people."""

    status: Status
    reason: Reason
    sentence: str


def status_of(outcome: Status | None, attempts: int, want: Want) -> Status:
    """Return the status that follows from the stored facts and the wish."""
    if outcome is not None:
        return outcome
    if want is Want.STOP:
        return Status.CANCELLATION_REQUESTED
    if want is Want.PAUSE:
        return Status.PAUSED
    return Status.IN_PROGRESS if attempts else Status.READY


def state_of(facts: Facts, now: datetime) -> State:
    """Return the state of a Movement at a time, by the clock of the store."""
    status = status_of(facts.outcome, facts.attempts, facts.wish.at(now))
    if facts.outcome is not None:
        return State(status, facts.because, _settled(facts))
    if status is Status.CANCELLATION_REQUESTED:
        return State(status, Reason.STOPPING, f"It is to stop, {facts.wish}. {_left(facts)}{_until(facts)}")
    if status is Status.PAUSED and (facts.in_hand or facts.working):
        return State(Status.IN_PROGRESS, Reason.PAUSING, f"It is to pause, {facts.wish}. {_left(facts)}")
    if status is Status.PAUSED:
        life = (
            "" if facts.life_ends is None else f" Its life ends at {facts.life_ends:%Y-%m-%d %H:%M} UTC, paused or not."
        )
        return State(
            status, Reason.PAUSED, f"It is paused, {facts.wish}. `pipeline resume {facts.flow}` goes on with it.{life}"
        )
    if status is Status.READY:
        return State(status, Reason.WAITS_FOR_WORKER, SENTENCES[Reason.WAITS_FOR_WORKER])
    return _in_progress(facts)


def _settled(facts: Facts) -> str:
    sentence = SENTENCES[facts.because]
    if facts.because is Reason.RECORDS_REJECTED and facts.rejected == 0:
        sentence = AT_SOURCE if facts.rejected_at_source else NONE_LEFT
    return sentence.format(again=facts.again, flow=facts.flow)


def _in_progress(facts: Facts) -> State:
    known = bool(facts.silent or facts.gone)
    quiet = not facts.working and (known or facts.silent_seconds > facts.patience_seconds)
    if quiet and (known or not (facts.refused or facts.paused)):
        who = f" {_names(facts.silent)} held work, and shows no sign of life." if facts.silent else ""
        who = f" Process {facts.gone} has stopped." if facts.gone and not who else who
        remedy = f"Start a worker with `pipeline worker all`, or run `pipeline move --flow {facts.flow}`"
        sentence = f"Nobody works on it, for {facts.silent_seconds:,.0f} seconds.{who} {remedy}; it carries on."
        return State(Status.IN_PROGRESS, Reason.NOBODY_WORKS, sentence)
    if facts.refused:
        sentence = (
            f"The destination refuses everything, so nothing more is imported: {facts.refused}. Correct the cause; then "
            f"`pipeline resume {facts.flow}` goes on with it. Otherwise it ends when all is exported."
        )
        return State(Status.IN_PROGRESS, Reason.DESTINATION_REFUSES, sentence)
    if facts.paused:
        return State(Status.IN_PROGRESS, Reason.GROUPS_PAUSED, _without_paused(facts, quiet=quiet))
    sentence = SENTENCES[Reason.WORKING]
    if facts.stopped:
        sentence = f"It is under way, without the stopped {_groups(facts.stopped)}; it can only end INCOMPLETE."
    return State(Status.IN_PROGRESS, Reason.WORKING, sentence)


def _without_paused(facts: Facts, *, quiet: bool) -> str:
    if not quiet:
        return f"It is under way, without the paused {_groups(facts.paused)}."
    return (
        f"It waits for the paused {_groups(facts.paused)}: `pipeline resume {facts.flow}` goes on with it. Nothing else of it "
        f"has moved for {facts.silent_seconds:,.0f} seconds; if something else is left, start a worker."
    )


def _left(facts: Facts) -> str:
    if facts.in_hand:
        return f"{facts.in_hand:,} Event File{'s are' if facts.in_hand > 1 else ' is'} in hand."
    if facts.silent:
        return f"{_names(facts.silent)} held work, and shows no sign of life."
    return "Work in hand is ending." if facts.working else "Nothing is in hand."


def _until(facts: Facts) -> str:
    """Say what a Movement that is to stop waits for."""
    if not facts.in_hand or facts.grace_ends is None:
        return ""
    return (
        " It waits until that is imported, or reported by the app that pulls it, and until "
        f"{facts.grace_ends:%Y-%m-%d %H:%M} UTC at most."
    )


def _names(workers: Sequence[str]) -> str:
    return f"Worker {workers[0]}" + (f" and {len(workers) - 1} more" if len(workers) > 1 else "")


def _groups(labels: Sequence[str]) -> str:
    return f"group{'s' if len(labels) > 1 else ''} {', '.join(labels)}"


_REFUSED = {
    Verb.PAUSE: "it cannot be paused",
    Verb.RESUME: "it cannot be resumed",
    Verb.STOP: "it cannot be stopped",
    Verb.START: "no other one is started before it has settled",
    Verb.RERUN: "it cannot be run again",
    Verb.RETRY: "it cannot be asked to retry its rejected records",
    Verb.RELOAD: "it cannot be given a stream to reload",
}
_COMMANDS = {Verb.QUEUE: "start {flow} --queue", Verb.RELOAD: "reload {flow} STREAM"}
"""The commands that are more than the verb and the name of the Flow."""


def refusal(
    verb: Verb, status: Status, flow: str, number: int, useful: frozenset[Verb] = frozenset(Verb)
) -> str | None:
    """Return why a verb is illegal in a status, with the legal ones that are `useful`; None when it is legal."""
    if verb in LEGAL[status]:
        return None
    final = ", which is final" if status in SETTLED else ""
    shown = (LEGAL[status] & useful) - ({Verb.QUEUE} if Verb.START in LEGAL[status] else set())  # it would not wait
    name = shlex.quote(flow)
    legal = [f"`pipeline {_COMMANDS.get(one, f'{one} {{flow}}').format(flow=name)}`" for one in Verb if one in shown]
    can = f" You can use {', '.join(legal)}." if legal else ""
    return f"Movement {number} of Flow {flow!r} is {status}{final}: {_REFUSED[verb]}.{can}"
