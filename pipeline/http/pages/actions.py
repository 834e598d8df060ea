"""The verbs as buttons: which ones a Movement has, and what each asks before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.movement import Movement


@dataclass(frozen=True, slots=True)
class Action:
    """A verb: the words on its button, and the question before it is done; without one it is done at once."""

    verb: str
    label: str
    question: str = ""
    danger: bool = False


ACTIONS: Mapping[str, Action] = {action.verb: action for action in (Action("start", "Start a Movement"),)}


def actions_for(latest: Movement | None) -> Sequence[Action]:
    """Return the actions that the latest Movement of a Flow allows."""
    return [ACTIONS["start"]] if latest is None or latest.settled else []
