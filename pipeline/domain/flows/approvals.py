"""Approvals of a Flow: what was approved by whom, and whether it still covers what would be exported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from shlex import quote

from pipeline.domain.flows.declaration import ApprovalTerms, Side
from pipeline.domain.ids import FlowName, StreamName


class Act(StrEnum):
    """What a person did."""

    APPROVE = "approve"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is approved: text and links of the Flow, the scopes of the data, and the contract of the source.

    `contract` is None where the source has not been asked.
    """

    text: str
    links: tuple[str, ...]
    scopes: tuple[str, ...]
    contract: str | None = None

    @classmethod
    def of(cls, declared: ApprovalTerms, scopes: Mapping[StreamName, Sequence[str]], contract: str | None) -> Terms:
        """Return the terms for these streams."""
        found = sorted({scope for own in scopes.values() for scope in own})
        return cls(declared.text, declared.links, tuple(found), contract)

    @property
    def text_sha256(self) -> str:
        """The hash of text and links, in 64 hexadecimal digits."""
        return hashlib.sha256("\n".join((self.text, *self.links)).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Approval:
    """One act of a person, numbered in the Flow. The latest one of a side counts."""

    number: int
    side: Side
    act: Act
    by: str
    at: datetime
    text_sha256: str
    scopes: tuple[str, ...] = ()
    contract: str = ""
    reason: str = ""


def latest_by_side(acts: Sequence[Approval]) -> Mapping[Side, Approval]:
    """Return the latest act of each side."""
    return {act.side: act for act in sorted(acts, key=lambda act: act.number)}


def unapproved_sides(required: Sequence[Side], acts: Sequence[Approval], terms: Terms) -> Sequence[Side]:
    """Return the sides that have not approved these terms, and have to."""
    latest = latest_by_side(acts)
    return [side for side in required if _why_not(latest.get(side), terms)]


def missing_approvals(
    flow: FlowName, required: Sequence[Side], acts: Sequence[Approval], terms: Terms
) -> Sequence[str]:
    """Return why the Flow must not be exported with these terms, a sentence for each side; none if it may be."""
    latest = latest_by_side(acts)
    reasons = {side: _why_not(latest.get(side), terms) for side in required}
    return [
        f"Flow {flow!r} needs the approval of the {side.value}'s side, {why}. "
        f"Show what is to be approved, and approve it: pipeline approve {quote(flow)} --side {side.value} --by NAME"
        for side, why in reasons.items()
        if why
    ]


def _why_not(act: Approval | None, terms: Terms) -> str:
    if act is None:
        return "and has none"
    if act.act is Act.REVOKE:
        return f"which {act.by} revoked at {act.at:%Y-%m-%d %H:%M} UTC"
    if act.text_sha256 != terms.text_sha256:
        return f"and its text has changed since {act.by} approved it"
    if terms.contract is not None and act.contract != terms.contract:
        return f"and its contract was {act.contract or 'none'!r} when {act.by} approved it, and is {terms.contract or 'none'!r}"
    if outside := sorted(set(terms.scopes) - set(act.scopes)):
        return f"and {act.by} has not approved data of the scope {', '.join(map(repr, outside))}"
    return ""
