"""Checks of the Flow itself: what it declares, what nobody imports, and how its earlier Movements ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from shlex import quote

from pipeline.assembly.commands.declared.changes import group_problems, untaken_streams
from pipeline.assembly.connectors import Pair
from pipeline.assembly.runtime import Runtime
from pipeline.domain.flows.findings import CheckFinding, Severity, finding_of
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Inventory, InventoryItem, plural
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.ports.checks import SchemaJudge

HISTORY = 10
"""How many Movements the history of a Flow has."""


def declared_finding(
    schemas: Sequence[StreamSchema], stored: Collection[StreamName], pair: Pair, flow: Flow, endpoints: Sequence[str]
) -> CheckFinding:
    """Patterns, labels, groups and endpoints of the declaration that name nothing."""
    problems = [
        *group_problems(schemas, flow.declared, pair.destinations[0], stored),
        *(("", why) for why in endpoints),
    ]
    return finding_of(
        "declared",
        [f"{flow.declared.where(flow.name, table)}: {why}" for table, why in problems],
        Severity.BLOCKS,
        fine="All that the Flow declares is there.",
        title="The Flow declares what is not there.",
        steps="Correct the file of Flows, and apply it, or use `pipeline flow set`.",
    )


def approvals_finding(missing: Sequence[str]) -> CheckFinding:
    """Approvals that the Flow requires and does not have."""
    return finding_of(
        "approvals",
        missing,
        Severity.BLOCKS,
        fine="All approvals that the Flow requires are there.",
        title="An approval is missing.",
        steps="Let the people who may approve look at the terms, and approve them with `pipeline approve`.",
    )


def streams_finding(schemas: Sequence[StreamSchema], pair: Pair) -> CheckFinding:
    """Streams that nobody imports."""
    names = [schema.stream for schema in schemas if schema.stream not in SPECIAL_STREAMS]
    untaken = sorted(untaken_streams(names, pair.destinations[0]))
    return finding_of(
        "streams",
        untaken,
        Severity.WARNING,
        fine="Every stream is imported.",
        title="Streams that nobody imports.",
        steps="Give the Importer a handler for them, leave them out with include = false, or use --accept-missing stream.",
    )


def handlers_finding(schemas: Sequence[StreamSchema], pair: Pair) -> CheckFinding:
    """Streams that lack what the rows of their handlers need."""
    there = pair.destination
    return finding_of(
        "handlers",
        there.schema_problems(schemas) if isinstance(there, SchemaJudge) else [],
        Severity.BLOCKS,
        fine="Every stream has the columns that its handler needs.",
        title="Streams that lack what the rows of their handlers need.",
        steps="Correct the rows of the Importer, or leave the streams out with --exclude.",
    )


def inventory_finding(items: Sequence[InventoryItem], flow: Flow | None) -> CheckFinding:
    """What the source has and will not arrive."""
    gaps = Inventory.of(items).gaps(() if flow is None else flow.accepted_missing)
    if not gaps:
        notices = f" {len(items):,} things are only noted." if items else ""
        return CheckFinding("inventory", Severity.OK, f"Nothing that the app needs stays behind.{notices}", len(items))
    kinds = Counter(item.kind for item in gaps)
    what = ", ".join(f"{number:,} {kind if number == 1 else plural(kind)}" for kind, number in kinds.items())
    sample = tuple(f"{item.kind} {item.name}: {item.reason}" for item in gaps)
    steps = "Make them at the destination by hand, and accept each kind with --accept-missing KIND."
    return CheckFinding("inventory", Severity.WARNING, f"Will not be moved: {what}.", len(gaps), sample, steps)


async def movements_of(runtime: Runtime, flow: Flow) -> Sequence[Movement]:
    """Return the latest Movements of a Flow, the newest first."""
    latest = await runtime.flows.latest(flow)
    numbers = range(latest.number if latest else 0, max(0, (latest.number if latest else 0) - HISTORY), -1)
    return [await runtime.flows.read_movement(flow.name, number) for number in numbers if number >= flow.rebuilt]


def history_finding(movements: Sequence[Movement]) -> CheckFinding:
    """How the latest Movements ended."""
    if not movements:
        return CheckFinding("history", Severity.OK, "The Flow has not been moved yet.")
    latest = movements[0]
    ended = Counter(one.status.value for one in movements)
    title = "The latest Movements: " + ", ".join(f"{number:,} {status}" for status, number in ended.items()) + "."
    if latest.status is Status.SUCCESS or not latest.settled:
        return CheckFinding("history", Severity.OK, title, len(movements))
    sample = tuple(
        f"Movement {one.number}: {one.status.value}" for one in movements if one.status is not Status.SUCCESS
    )
    steps = f"Look why Movement {latest.number} ended so: pipeline status {quote(latest.flow)}"
    return CheckFinding("history", Severity.WARNING, title, len(sample), sample, steps)
