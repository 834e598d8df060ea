"""Worlds in which faults show that are rare elsewhere: slow calls, small files, short lives; and fitting kinds of faults."""

from __future__ import annotations

from dataclasses import replace

from pipeline.testing.simulated.faults import Kind
from tests.simulation.platform.plan import Plan

DYING = frozenset({Kind.DIE_BEFORE, Kind.DIE_AFTER, Kind.DIE_HALFWAY, Kind.DIE_LATE})
FREEZING = frozenset({Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER})
REFUSING = frozenset({Kind.FULL, Kind.REFUSE})

MOVERS = range(0, 500, 2)
"""Seeds whose worlds have no workers."""
FLEETS = range(1, 200, 2)
"""Seeds whose worlds have workers."""


def small_files(plan: Plan) -> Plan:
    """Give every Event File one record."""
    return replace(plan, limits=replace(plan.limits, event_file_rows=1, range_rows=2))


def slow(plan: Plan) -> Plan:
    """Make every call slow: a replaced process continues while the other one works."""
    return replace(small_files(plan), latency_seconds=0.3, chores=(), further=0)


def busy_fleet(plan: Plan) -> Plan:
    """Have several workers of each kind at work at the same time."""
    return replace(plan, latency_seconds=0.1, exporters=2, importers=3, chores=(), further=0)


def short_lives(plan: Plan) -> Plan:
    """Have a Movement that was interrupted time out: the next one finds an export that never ended."""
    plan = small_files(plan)
    return replace(plan, limits=replace(plan.limits, lifetime_seconds=0.5), chores=(), further=0)


def impatient(plan: Plan) -> Plan:
    """Have a Movement of workers time out when one of them is stopped for some seconds."""
    plan = small_files(plan)
    limits = replace(plan.limits, idle_timeout_seconds=5.0)
    return replace(plan, limits=limits, latency_seconds=0.05, chores=(), further=0, wishes=(), group_wishes=())


def guarded(plan: Plan) -> Plan:
    """Hold the deletes of a stream from two on."""
    return replace(plan, limits=replace(plan.limits, delete_guard_rows=1), chores=(), further=0)


def often_pruned(plan: Plan) -> Plan:
    """Prune again and again, at any moment."""
    return replace(plan, latency_seconds=0.03, chores=((30, "prune"),) * 6)


def often_maintained(plan: Plan) -> Plan:
    """Have the Flow compacted and pruned by itself again and again, at any moment."""
    return replace(small_files(plan), chores=((30, "maintain"),) * 6, movements=3)


def often_stopped(plan: Plan) -> Plan:
    """Stop Movements again and again, in the middle of imports."""
    return replace(plan, latency_seconds=0.05, wishes=((40, "stop"), (60, "stop"), (60, "stop")), chores=(), further=0)


def often_paused(plan: Plan) -> Plan:
    """Pause and stop Movements again and again."""
    return replace(often_stopped(plan), wishes=((20, "pause"), (30, "stop"), (30, "pause"), (30, "stop")))


def often_without_groups(plan: Plan) -> Plan:
    """Pause and stop single groups again and again."""
    wishes = ((20, "pause"), (40, "stop"), (40, "pause"), (60, "stop"))
    return replace(often_stopped(plan), wishes=(), group_wishes=wishes, movements=3)


def with_triggers(plan: Plan) -> Plan:
    """Have rows that the destination's trigger drops or alters."""
    tables = {name: dict(rows) for name, rows in plan.tables.items()}
    tables["a"] |= {0: "dropped 0", 1: "altered 0"}
    return replace(plan, tables=tables, refusals=True)


def with_releases(plan: Plan) -> Plan:
    """Have tables get new columns."""
    return replace(plan, has_releases=True)


def often_queued(plan: Plan) -> Plan:
    """Queue starts again and again."""
    return replace(plan, latency_seconds=0.05, queued_starts=(30, 60, 60, 60), chores=(), further=0, movements=3)


def often_full(plan: Plan) -> Plan:
    """Have a destination with three streams that is full again and again."""
    tables = {name: dict(plan.tables.get(name, {})) | {13: "text 0"} for name in ("a", "b", "c")}
    labels = {name: plan.labels.get(name, name) for name in tables}
    full = ((40, 5.0), (60, 40.0), (60, 5.0))
    return replace(plan, tables=tables, labels=labels, full_disks=full, chores=(), further=0, movements=3)
