"""The verbs as buttons: which ones a Movement has, and what each asks before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.lifecycle.status import Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.planning.next_steps import NextSteps


@dataclass(frozen=True, slots=True)
class Action:
    """A verb: the words on its button, and the question before it is done; without one it is done at once."""

    verb: Verb
    label: str
    question: str = ""
    danger: bool = False


ACTIONS: Mapping[str, Action] = {
    action.verb.value: action
    for action in (
        Action(Verb.START, "Start a Movement"),
        Action(Verb.QUEUE, "Start another one afterwards", "A new Movement begins once this one has settled."),
        Action(Verb.PAUSE, "Pause", "What is in hand ends, and nothing new is begun until it is resumed."),
        Action(Verb.RESUME, "Resume"),
        Action(
            Verb.STOP,
            "Stop",
            "The Movement ends as CANCELLED. What is imported stays; a new Movement moves what is missing.",
            danger=True,
        ),
        Action(Verb.RETRY, "Try rejected records again", "Records that the destination rejected are loaded again."),
        Action(Verb.RERUN, "Run again", "A new Movement moves what this one has left out, and nothing twice."),
    )
}


def actions_for(steps: NextSteps | None) -> Sequence[Action]:
    """Return the actions that the latest Movement of a Flow allows, and that would change something. None: it has none."""
    if steps is None:
        return [ACTIONS[Verb.START.value]]
    changes_nothing = {Status.PAUSED: {Verb.PAUSE}, Status.READY: {Verb.RESUME}, Status.IN_PROGRESS: {Verb.RESUME}}
    status = steps.movement.status_at(steps.now)
    legal = steps.legal - changes_nothing.get(status, set())
    if steps.movement.settled:
        legal -= {Verb.QUEUE}
    return [action for action in ACTIONS.values() if action.verb in legal]
