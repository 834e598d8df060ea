"""What checks find before a Movement, and which of it a person has accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

SAMPLE = 5
"""How many things a finding names."""


class Severity(StrEnum):
    """How serious a finding is. One that BLOCKS keeps a Movement from beginning."""

    OK = "ok"
    WARNING = "warning"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What a check found: `count` things, of which `sample` names the first, and `steps` to take.

    An `excludable` one that blocks can be accepted; then it is a warning, and `accepted` is the reason.
    """

    id: str
    severity: Severity
    title: str
    count: int = 0
    sample: tuple[str, ...] = ()
    steps: str = ""
    excludable: bool = False
    accepted: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", tuple(self.sample[:SAMPLE]))

    @property
    def blocks(self) -> bool:
        """Whether a Movement must not begin."""
        return self.severity is Severity.BLOCKS


def finding_of(
    id_: str,
    found: Sequence[str],
    severity: Severity,
    *,
    fine: str,
    title: str,
    steps: str,
    count: int | None = None,
    excludable: bool = False,
) -> CheckFinding:
    """Return what a check has found, `count` things if not all are named; an OK finding, titled `fine`, for nothing."""
    if not found:
        return CheckFinding(id_, Severity.OK, fine)
    return CheckFinding(
        id_, severity, title, len(found) if count is None else count, tuple(found), steps, excludable=excludable
    )


@dataclass(frozen=True, slots=True)
class AcceptedFinding:
    """A finding that a person has accepted for a Flow: who, when, and why."""

    id: str
    reason: str
    by: str
    at: datetime


def judged(findings: Sequence[CheckFinding], accepted: Sequence[AcceptedFinding]) -> Sequence[CheckFinding]:
    """Return the findings; excludable ones that are accepted are warnings."""
    reasons = {one.id: one.reason for one in accepted}
    return [
        replace(one, severity=Severity.WARNING, accepted=reasons[one.id])
        if one.blocks and one.excludable and one.id in reasons
        else one
        for one in findings
    ]


def worst(findings: Sequence[CheckFinding]) -> Severity:
    """Return the severity of the most serious finding."""
    return max((one.severity for one in findings), key=list(Severity).index, default=Severity.OK)
