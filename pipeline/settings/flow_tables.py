"""The tables of a file of Flows: names, types, defaults, limits and meanings. docs/reference/flows.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from pipeline.domain.flows.declaration import LEAST_EVENTS_DAYS, MOST_DAYS, MOST_SECONDS

Texts = tuple[str, ...]
_MOST = 2**62


def _texts(description: str, form: str = "a list of texts", item: str = r"(?s).+") -> Meta:
    return Meta(extra={"item": item, "form": form}, description=description)


@dataclass(frozen=True, slots=True)
class FlowTable:
    """`[flow.NAME]`."""

    source: Annotated[str, Meta(description="The place that data is read from, as of `pipeline move`. Required.")] = ""
    destination: Annotated[str, Meta(description="The place that data is written to. Required.")] = ""
    files: Annotated[
        Texts,
        _texts("A source and a destination directory that are moved with a database.", "a list of two directories"),
    ] = ()
    requires: Annotated[
        Literal["", "transaction", "staged", "keyed", "found", "at-least-once"],
        Meta(
            description='The delivery level that the destination must have: "transaction", "staged", "keyed", "found" or '
            '"at-least-once". Empty: "found".'
        ),
    ] = ""
    notifications: Annotated[Texts, _texts("The names of the endpoints that get the events of the Flow.")] = ()


@dataclass(frozen=True, slots=True)
class StreamTable:
    """`[flow.NAME.stream."GLOB"]`."""

    group: Annotated[
        str, Meta(min_length=1, extra={"form": "a text"}, description="The File Group Label of the streams that match.")
    ] = ""
    include: Annotated[bool, Meta(description="Whether the streams that match are moved.")] = True


@dataclass(frozen=True, slots=True)
class GroupTable:
    """`[flow.NAME.group.LABEL]`."""

    depends_on: Annotated[Texts, _texts("The groups that must be imported before this one.")] = ()


@dataclass(frozen=True, slots=True)
class LimitsTable:
    """`[flow.NAME.limits]`. A limit that is 0 is as the setting of its name says."""

    event_file_bytes: Annotated[
        int, Meta(ge=0, le=256_000_000, description="An Event File is cut at this many bytes.")
    ] = 0
    event_file_rows: Annotated[
        int, Meta(ge=0, le=10_000_000, description="An Event File is cut at this many records.")
    ] = 0
    delete_guard_rows: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="More deletes than this are held if they are more than a fifth of a stream.",
        ),
    ] = 0
    importers: Annotated[
        int,
        Meta(ge=0, le=64, description="Event Files of the Flow that one process imports at the same time."),
    ] = 0


@dataclass(frozen=True, slots=True)
class WindowsTable:
    """`[flow.NAME.windows]`. A change is for Movements that begin after it; `reruns = false` counts at once.

    The days of a re-run count from the end of its original.
    """

    inactivity_seconds: Annotated[
        int,
        Meta(ge=1, le=MOST_SECONDS, description="A Movement in which nothing has moved for this long is TIMED_OUT."),
    ] = 900
    life_days: Annotated[int, Meta(ge=1, le=MOST_DAYS, description="A Movement older than this is TIMED_OUT.")] = 14
    rerun_days: Annotated[int, Meta(ge=0, le=MOST_DAYS, description="For how long a Movement may be run again.")] = 12
    stop_grace_seconds: Annotated[
        int,
        Meta(ge=0, le=MOST_SECONDS, description="A Movement that is to stop is CANCELLED after this at the latest."),
    ] = 3600
    reruns: Annotated[bool, Meta(description="Whether Movements of the Flow may be run again.")] = True


@dataclass(frozen=True, slots=True)
class RetentionTable:
    """`[flow.NAME.retention]`."""

    reports_days: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST_DAYS,
            description="Pruning keeps progress, failures and feedback of Movements that settled within this many days.",
        ),
    ] = 30
    events_days: Annotated[
        int,
        Meta(
            ge=LEAST_EVENTS_DAYS,
            le=MOST_DAYS,
            description="Pruning keeps events, history and log of Movements that settled within this many days.",
        ),
    ] = 365


@dataclass(frozen=True, slots=True)
class MaintenanceTable:
    """`[flow.NAME.maintenance]`."""

    automatic: Annotated[bool, Meta(description="Whether the Flow is compacted and pruned by itself.")] = True
    event_files: Annotated[
        int,
        Meta(ge=1, le=_MOST, description="A stream is compacted once this many Event Files have changes of it."),
    ] = 1_000
    waste_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="A stream is compacted once changes are this much of its bytes in the store, "
            "if they are at least 20 Event Files or 100 MB.",
        ),
    ] = 50


@dataclass(frozen=True, slots=True)
class ApprovalsTable:
    """`[flow.NAME.approvals]`."""

    required: Annotated[
        Texts,
        _texts(
            'Who must approve before anything is exported: "source", "destination", or both.',
            'a list of "source" and "destination"',
            "source|destination",
        ),
    ] = ()
    text: Annotated[str, Meta(description="What is approved, in words.")] = ""
    links: Annotated[Texts, _texts("Links to policies, which are shown with the text.")] = ()


TABLES: Mapping[str, type] = {
    "": FlowTable,
    "stream": StreamTable,
    "group": GroupTable,
    "limits": LimitsTable,
    "windows": WindowsTable,
    "retention": RetentionTable,
    "maintenance": MaintenanceTable,
    "approvals": ApprovalsTable,
}
"""The tables below `[flow.NAME]`, by name. Those in `NAMED` stand for several, each with a name of its own."""
NAMED = ("stream", "group")
OPTIONS = ("source_options", "destination_options")
"""Tables whose names are settings of the two places."""
