"""What checks ask of places before a Movement: what a destination says of itself, and what an app's own checks find."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self, runtime_checkable

from pipeline.domain.flows.findings import CheckFinding
from pipeline.domain.schema import StreamSchema


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """What a destination tells without being changed.

    `refusal` says why it cannot be written to; empty if it can. `free_bytes` and `now`, its clock, are None where it does
    not tell.
    """

    refusal: str = ""
    free_bytes: int | None = None
    now: datetime | None = None


@runtime_checkable
class AppChecks(Protocol):
    """A Source or a Destination with checks of its author's, which run whenever it is opened."""

    @property
    def check_titles(self) -> Mapping[str, str]:
        """The titles of the checks, by id."""
        ...

    async def app_findings(self) -> Sequence[CheckFinding]:
        """Open the app, and return what its checks find, an OK one for each check that finds nothing."""
        ...

    def accepting(self, ids: Container[str]) -> Self:
        """Return the same place; what its checks of these ids find does not keep it from being opened."""
        ...


@runtime_checkable
class SchemaJudge(Protocol):
    """A Destination that tells, without being opened, which streams it cannot import as they are."""

    def schema_problems(self, schemas: Sequence[StreamSchema]) -> Sequence[str]:
        """Return what does not fit, a sentence a stream. A stream that it does not take at all is none."""
        ...
