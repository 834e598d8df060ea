"""What is to be told of the last change of what people want of a Movement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DueEvent:
    """An event of the Movement that holds it, as of `pipeline.domain.outbox.event`; the process may die before it stores it."""

    type: str
    time: datetime
    subject: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
