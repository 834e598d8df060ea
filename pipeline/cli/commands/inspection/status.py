"""`pipeline status`: shows Flows and their Movements."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from pipeline.assembly.commands.status import FlowStatus, UnreadableFlow
from pipeline.assembly.commands.status import status as read_status
from pipeline.assembly.progress_counts import progress_words
from pipeline.cli import exit_codes
from pipeline.cli.commands.inspection.maintenance_text import maintenance_lines, maintenance_object
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.inventory import inventory_lines
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.progress import shown_object
from pipeline.cli.output.text import columns, count, duration, group_wish_lines, moment, printable
from pipeline.codec.documents.work_error import WorkError
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.settings import Settings

PROBLEMS_SHOWN = 3


@click.command()
@click.argument("flow", required=False)
@click.option("--flow", "named", metavar="NAME", help="The same as FLOW.")
@click.option("--watch", is_flag=True, help="Show it again and again, until no Movement is in progress.")
@json_option
@with_settings
def status(flow: str | None, named: str | None, watch: bool, as_json: bool, settings: Settings) -> int:
    """Show Flows, their Movements, and how far they are.

    With FLOW, this Flow alone, with the groups of its latest Movement and all of its problems. A destination that does
    not answer within two seconds is named; what it has imported is then unknown.

    With --watch, it is shown every `progress_seconds`, until all Movements that are shown have settled.

    Exit code: 0, also when a destination did not answer; 1 when a Flow cannot be read from the store.
    """
    if flow is not None and named is not None and flow != named:
        raise click.UsageError(f"Two Flows are given, {flow} and {named}. Give one, or none for all of them.")
    flow = flow or named
    while True:
        found = run_async(lambda: read_status(flow, settings=settings))
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        code = _show(found, settings, details=flow is not None, as_json=as_json)
        if not watch or not any(_is_in_progress(one) for one in found):
            return code
        time.sleep(settings.progress_seconds)


def _is_in_progress(found: FlowStatus | UnreadableFlow) -> bool:
    return isinstance(found, FlowStatus) and bool(found.movements) and not found.movements[-1].settled


def _show(found: Sequence[FlowStatus | UnreadableFlow], settings: Settings, *, details: bool, as_json: bool) -> int:
    """Print the status of Flows, and return the exit code."""
    readable = [one for one in found if isinstance(one, FlowStatus)]
    unreadable = [one for one in found if isinstance(one, UnreadableFlow)]
    if as_json:
        broken = [{"flow": one.name, "reason": one.reason} for one in unreadable]
        print_object({"flows": [_object(one) for one in readable], "unreadable": broken})
    else:
        if not found:
            click.echo(f"There is no Flow in {settings.home}. `pipeline move` creates one.")
        for one in readable:
            click.echo("\n".join(_lines(one, details=details)))
        for broken_flow in unreadable:
            name, reason = printable(broken_flow.name), printable(broken_flow.reason)
            click.echo(f"pipeline: Flow {name} cannot be read: {reason}", err=True)
    return exit_codes.NOT_DONE if unreadable else exit_codes.SUCCESS


def _lines(found: FlowStatus, *, details: bool) -> list[str]:
    flow = found.flow
    lines = [printable(flow.name), f"  {printable(flow.source)} → {printable(flow.destination)}"]
    if flow.origin is not None:
        lines.append(f"  It imports what Flow {printable(flow.origin)} has stored.")
    if found.imports_unknown_because:
        lines.append(f"  The destination did not answer: {printable(found.imports_unknown_because)}")
    if found.movements:
        lines += ["", *columns(_movement_rows(found))]
    if details and found.groups:
        rows = [("group", "Event Files", "imported", "pending")]
        for group in found.groups:
            done = group.imported
            known = ("?", "?") if done is None else (f"{done:,}", f"{group.listed - done:,}")
            rows.append((printable(group.label), f"{group.listed:,}", *known))
        lines += ["", *columns(rows)]
    if found.state is not None and found.state.status is not Status.SUCCESS:
        lines += ["", f"  Movement {found.movements[-1].number}: {printable(found.state.sentence)}"]
    if found.movements and not found.movements[-1].settled:
        lines += [f"  {line}" for line in group_wish_lines(found.movements[-1])]
    if flow.queued is not None:
        lines += ["", f"  {printable(str(flow.queued))} It begins once the Movement has settled."]
    if found.movements and not found.movements[-1].settled:
        lines += _progress_lines(found)
        lines += _worker_lines(found)
    if found.movements:
        lines += inventory_lines(found.movements[-1].inventory, flow.accepted_missing)
    lines += [
        click.style(
            f"  Notifications to {one.name} are disabled: {printable(one.disabled)}. `pipeline notify enable {one.name}` "
            "sends them again, and what has been missed.",
            fg="red",
        )
        for one in found.disabled
    ]
    lines += [f"  {printable(line)}" for line in maintenance_lines(flow, found.maintenance, details=details)]
    if details:
        lines += [
            f"  Feedback of {printable(name)}: {printable(json.dumps(it))}" for name, it in found.feedback.items()
        ]
    return [*lines, *_problem_lines(found, at_most=None if details else PROBLEMS_SHOWN), ""]


def _movement_rows(found: FlowStatus) -> list[tuple[str, ...]]:
    shown = [name for name in ("rejected", "waiting") if any(getattr(it.totals, name) for it in found.movements)]
    rows: list[tuple[str, ...]] = [
        (
            "Movement",
            "status",
            "began",
            "exported",
            "imported",
            "skipped",
            "failed",
            "records",
            *shown,
            "records/s",
            "took",
        )
    ]
    for movement in found.movements:
        totals = movement.totals
        records = totals.upserts + totals.deletes
        rows.append(
            (
                str(movement.number),
                _status_of(found, movement).value + (" (compaction)" if movement.compaction else ""),
                moment(movement.created),
                f"{totals.files_exported:,}",
                f"{totals.files_imported:,}",
                f"{totals.files_skipped:,}",
                f"{totals.files_failed:,}",
                f"{records:,}",
                *(f"{getattr(totals, name):,}" for name in shown),
                f"{records / totals.seconds:,.0f}" if totals.seconds else "–",
                duration(totals.seconds),
            )
        )
    return rows


def _status_of(found: FlowStatus, movement: Movement) -> Status:
    return found.state.status if found.state and movement is found.movements[-1] else movement.status


def _progress_lines(found: FlowStatus) -> list[str]:
    """Say how far a Movement is that one process does alone: only that one can estimate it."""
    if found.progress is None:
        return []
    words = printable(progress_words(found.progress))
    return ["", f"  {found.progress.percent} %{f', {words}' if words else ''}"]


def _worker_lines(found: FlowStatus) -> list[str]:
    """Show the progress of each worker in a Movement that has not settled."""
    rows = [("worker", "last heard of", "rows read", "files stored", "imported", "records", "records/s")]
    for worker in found.workers:
        groups = worker.groups.values()
        seconds = (worker.updated - worker.started).total_seconds()
        records = sum(group.records_imported for group in groups)
        rows.append(
            (
                printable(worker.worker),
                duration((datetime.now(UTC) - worker.updated).total_seconds()) + " ago",
                f"{sum(group.rows_read for group in groups):,}",
                f"{sum(group.files_stored for group in groups):,}",
                f"{sum(group.files_imported for group in groups):,}",
                f"{records:,}",
                f"{records / seconds:,.0f}" if seconds > 0 else "–",
            )
        )
    return ["", *columns(rows)] if found.workers else []


def _problem_lines(found: FlowStatus, *, at_most: int | None) -> list[str]:
    """Show the problems of a settled Movement, or what has failed so far in one that has not settled."""
    if not found.movements:
        return []
    latest = found.movements[-1]
    problems = list(latest.problems)
    if latest.status not in (Status.SUCCESS, Status.INCOMPLETE, Status.FAILED):
        problems = [_error_line(error) for error in found.errors]
        problems += [
            f"Event File {failure.file}"
            + ("" if failure.line is None else f", line {failure.line}, key {failure.key}")
            + f": {failure.reason}"
            for failure in found.failures
        ]
    if not problems:
        return []
    lines = ["", f"  {count(len(problems), 'problem')} in Movement {latest.number}:"]
    lines += [f"    {printable(problem)}" for problem in problems[:at_most]]
    if at_most is not None and len(problems) > at_most:
        lines.append("    … all of them with --flow NAME")
    return lines


def _error_line(error: WorkError) -> str:
    times = count(error.count, "time")
    return f"{error.work} failed {times}, the last time at {moment(error.last)} ({error.worker}): {error.reason}"


def _queued_object(flow: Flow) -> dict[str, object] | None:
    it = flow.queued
    return None if it is None else {"when": it.when.isoformat(), "who": it.who or None, **asdict(it.choices)}


def _object(found: FlowStatus) -> dict[str, object]:
    flow = found.flow
    return {
        "flow": flow.name,
        "shares": flow.origin,
        "source": flow.source,
        "destination": flow.destination,
        "created": flow.created.isoformat(),
        "queued": _queued_object(flow),
        "movements": [
            movement_object(movement, found.state if movement is found.movements[-1] else None, flow)
            | {"created": movement.created.isoformat(), "updated": movement.updated.isoformat()}
            for movement in found.movements
        ],
        "progress": None if found.progress is None else shown_object(found.progress),
        "groups": [
            {"label": group.label, "event_files": group.listed, "imported": group.imported} for group in found.groups
        ],
        "workers": [
            asdict(worker) | {"started": worker.started.isoformat(), "updated": worker.updated.isoformat()}
            for worker in found.workers
        ],
        "errors": [
            asdict(error) | {"first": error.first.isoformat(), "last": error.last.isoformat()} for error in found.errors
        ],
        "feedback": dict(found.feedback),
        "maintenance": maintenance_object(flow, found.maintenance),
        "disabled_endpoints": [{"name": one.name, "reason": one.disabled} for one in found.disabled],
        "failures": [asdict(failure) | {"file": str(failure.file)} for failure in found.failures],
        "destination_error": found.imports_unknown_because or None,
    }
