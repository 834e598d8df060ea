"""`pipeline status`: Flows, their Movements, groups, files, rates and failures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.assembly.commands.status import FlowSurvey


@click.command(short_help="Show Flows, their Movements, and how far they are.")
@click.option("--flow", metavar="NAME", help="Tell more, about this Flow alone.")
@json_option
@common_options
def status(flow: str | None, as_json: bool, home: Path | None, config: Path | None, debug: bool) -> None:
    """Show Flows, their Movements, and how far they are.

    With --flow, also the groups of the latest Movement and everything that did not go in.
    """
    from pipeline.assembly.commands.status import survey_flows

    settings = prepare(home, config)
    existing_home(settings)
    surveys = run_async(lambda: survey_flows(settings, flow))
    if as_json:
        from pipeline.cli.output.json_output import print_object

        print_object({"flows": [_object(survey) for survey in surveys]})
        return
    if not surveys:
        click.echo(f"There is no Flow in {settings.home}. `pipeline move` begins one.")
    for survey in surveys:
        click.echo("\n".join(_lines(survey, details=flow is not None)))


def _lines(survey: FlowSurvey, *, details: bool) -> list[str]:
    from pipeline.cli.output.text import columns, printable

    flow = survey.flow
    lines = [printable(flow.name), f"  {printable(flow.source)} → {printable(flow.destination)}"]
    if flow.origin is not None:
        lines.append(f"  It shares what Flow {printable(flow.origin)} has stored.")
    if not survey.destination_there:
        lines.append("  The destination is not there: what it has imported is unknown.")
    if survey.movements:
        lines += ["", *columns(_movement_rows(survey))]
    if details and survey.groups:
        rows = [("group", "Event Files", "imported", "pending")]
        for group in survey.groups:
            known = (f"{group.imported:,}", f"{group.listed - group.imported:,}") if survey.destination_there else "??"
            rows.append((printable(group.label), f"{group.listed:,}", *known))
        lines += ["", *columns(rows)]
    if survey.movements and not survey.movements[-1].settled:
        lines += _worker_lines(survey)
    lines += _problem_lines(survey, at_most=None if details else 3)
    return [*lines, ""]


def _worker_lines(survey: FlowSurvey) -> list[str]:
    """Say what each worker has done in a Movement that is under way, or was left where a worker died."""
    from datetime import UTC, datetime

    from pipeline.cli.output.text import columns, duration, printable

    rows = [("worker", "last heard of", "rows read", "files stored", "imported", "records", "records/s")]
    for worker in survey.workers:
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
    return ["", *columns(rows)] if survey.workers else []


def _problem_lines(survey: FlowSurvey, *, at_most: int | None) -> list[str]:
    """Say what did not go in: a settled Movement's own words, or what has failed so far in one that is under way."""
    from pipeline.cli.output.text import count, printable

    if not survey.movements:
        return []
    latest = survey.movements[-1]
    problems = list(latest.problems)
    if not latest.settled:
        problems = [
            f"Event File {failure.file}"
            + ("" if failure.line is None else f", line {failure.line}, key {failure.key}")
            + f": {failure.reason}"
            for failure in survey.failures
        ]
    if not problems:
        return []
    lines = ["", f"  {count(len(problems), 'problem')} in Movement {latest.number}:"]
    lines += [f"    {printable(problem)}" for problem in problems[:at_most]]
    if at_most is not None and len(problems) > at_most:
        lines.append("    … all of them with --flow NAME")
    return lines


def _movement_rows(survey: FlowSurvey) -> list[tuple[str, ...]]:
    from pipeline.cli.output.text import duration

    rows: list[tuple[str, ...]] = [
        ("Movement", "status", "began", "exported", "imported", "skipped", "failed", "records", "records/s", "took")
    ]
    for movement in survey.movements:
        totals = movement.totals
        records = totals.upserts + totals.deletes
        rows.append(
            (
                str(movement.number),
                movement.status.value + (" (compaction)" if movement.compaction else ""),
                f"{movement.created:%Y-%m-%d %H:%M:%S}",
                f"{totals.files_exported:,}",
                f"{totals.files_imported:,}",
                f"{totals.files_skipped:,}",
                f"{totals.files_failed:,}",
                f"{records:,}",
                f"{records / totals.seconds:,.0f}" if totals.seconds else "–",
                duration(totals.seconds),
            )
        )
    return rows


def _object(survey: FlowSurvey) -> dict[str, object]:
    from pipeline.cli.output.json_output import movement_object

    flow = survey.flow
    return {
        "flow": flow.name,
        "shares": flow.origin,
        "source": flow.source,
        "destination": flow.destination,
        "created": flow.created.isoformat(),
        "movements": [
            movement_object(movement)
            | {"created": movement.created.isoformat(), "updated": movement.updated.isoformat()}
            for movement in survey.movements
        ],
        "groups": [
            {
                "label": group.label,
                "event_files": group.listed,
                "imported": group.imported if survey.destination_there else None,
            }
            for group in survey.groups
        ],
        "workers": [
            asdict(worker) | {"started": worker.started.isoformat(), "updated": worker.updated.isoformat()}
            for worker in survey.workers
        ],
        "failures": [asdict(failure) | {"file": str(failure.file)} for failure in survey.failures],
    }
