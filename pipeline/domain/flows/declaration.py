"""The declaration of a Flow: options, streams and groups, limits, windows, retention, maintenance, notifications, approvals.

The names of the fields are those in a file of Flows (docs/reference/flows.md) and in flow.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from pipeline.domain.ids import FlowName, Label


class Side(StrEnum):
    """The side of a Flow that an approval comes from."""

    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class StreamRule:
    """What holds for the streams that match `pattern`: their group, and whether they are moved."""

    pattern: str
    group: Label | None = None
    include: bool = True


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A group, and the groups that must be imported before it."""

    label: Label
    depends_on: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Windows:
    """How long a Movement may take, and when it may be run again.

    Nothing moves for `inactivity_seconds`, or it is older than `life_days`: TIMED_OUT. A Movement that did not succeed is
    run again within `rerun_days`, if `reruns` are allowed at all. A stopped one is CANCELLED after `stop_grace_seconds`.
    """

    inactivity_seconds: int = 900
    life_days: int = 14
    rerun_days: int = 12
    stop_grace_seconds: int = 3600
    reruns: bool = True

    def __post_init__(self) -> None:
        numbers = self.inactivity_seconds, self.life_days, self.rerun_days, self.stop_grace_seconds
        if min(numbers) < 0 or max(numbers) > MOST_SECONDS or max(self.life_days, self.rerun_days) > MOST_DAYS:
            raise ValueError(f"a window is negative, or longer than {MOST_DAYS:,} days")


MOST_DAYS = 3650
"""The longest window, in days."""
LEAST_EVENTS_DAYS = 15
"""Events stay at least this long, so that notifications of them are delivered, or given up."""
MOST_SECONDS = MOST_DAYS * 86_400


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """Limits of a Flow that take the place of the settings of the same name; None is the setting's."""

    event_file_bytes: int | None = None
    event_file_rows: int | None = None
    delete_guard_rows: int | None = None
    importers: int | None = None

    def __post_init__(self) -> None:
        if any(value is not None and value < 0 for value in (getattr(self, one.name) for one in fields(self))):
            raise ValueError("a limit is negative")


@dataclass(frozen=True, slots=True)
class Retention:
    """Pruning keeps progress, failures and feedback of Movements that settled within `reports_days`, and their events,
    history and log within `events_days`."""

    reports_days: int = 30
    events_days: int = 365

    def __post_init__(self) -> None:
        if not 0 <= self.reports_days <= MOST_DAYS:
            raise ValueError(f"reports are kept for 0 to {MOST_DAYS:,} days")
        if not LEAST_EVENTS_DAYS <= self.events_days <= MOST_DAYS:
            raise ValueError(f"events are kept for {LEAST_EVENTS_DAYS} to {MOST_DAYS:,} days")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """When the Flow is compacted and pruned by itself, if `automatic`.

    A stream is compacted once `event_files` Event Files have changes of it, or once changes are `waste_percent` of its bytes.
    """

    automatic: bool = True
    event_files: int = 1_000
    waste_percent: int = 50

    def __post_init__(self) -> None:
        if self.event_files < 1 or not 1 <= self.waste_percent <= 100:
            raise ValueError("a stream is compacted from 1 Event File on, and at 1 to 100 percent of changes")


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """Who must approve before the Flow is moved, and what they approve: a text, and links to policies."""

    required: tuple[Side, ...] = ()
    text: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Declaration:
    """All that is declared of a Flow beside its two places. The defaults are those of a Flow that declares nothing.

    `source_options` and `destination_options` are settings of the two places; a secret is a reference (`env:NAME`).
    `requires` is the delivery level that the destination must have. `notifications` names endpoints. `file` is the name
    of the file that it was read from.
    """

    source_options: Mapping[str, str] = field(default_factory=dict)
    destination_options: Mapping[str, str] = field(default_factory=dict)
    streams: tuple[StreamRule, ...] = ()
    groups: tuple[GroupRule, ...] = ()
    limits: FlowLimits = FlowLimits()
    windows: Windows = Windows()
    retention: Retention = Retention()
    maintenance: Maintenance = Maintenance()
    requires: str | None = None
    notifications: tuple[str, ...] = ()
    approvals: ApprovalTerms = ApprovalTerms()
    file: str = ""

    @property
    def excluded(self) -> tuple[str, ...]:
        """The patterns of the streams that are left out."""
        return tuple(rule.pattern for rule in self.streams if not rule.include)

    def where(self, flow: FlowName, table: str) -> str:
        """Return what a message calls a table of the Flow: the file, if it was declared in one, and the table."""
        heading = ".".join(filter(None, ("flow", quoted(flow), table)))
        return f"{self.file or f'Flow {flow!r}'}, [{heading}]"


def quoted(name: str) -> str:
    """Return a name as TOML has it in the heading of a table: in quotes, unless it is a bare key."""
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else json.dumps(name, ensure_ascii=False)


NOTHING_DECLARED = Declaration()
