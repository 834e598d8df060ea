"""`pipeline check`: what is wrong, or may go wrong, before data moves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pipeline.assembly.commands.checks.run import CheckReport
from pipeline.assembly.commands.checks.run import check as check_places
from pipeline.cli import exit_codes
from pipeline.cli.options import json_option, plugin_settings_options, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, printable
from pipeline.cli.signals import run_interruptible
from pipeline.domain.flows.findings import CheckFinding, Severity
from pipeline.settings import Settings

_VERDICTS = {
    Severity.OK: "Nothing is in the way.",
    Severity.WARNING: "Nothing blocks a Movement. Look at the warnings.",
    Severity.BLOCKS: "A Movement would not begin, or would fail. Take the steps above.",
}


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="SOURCE DESTINATION | FLOW")
@click.option("--flow", metavar="NAME", help="The name of the connection of SOURCE and DESTINATION.")
@click.option(
    "--files", nargs=2, metavar="SRC_DIR DST_DIR", help="Check a directory tree as well, as of `pipeline move`."
)
@click.option("--quick", is_flag=True, help="Read no rows: ask the places, and compare tables.")
@click.option("--accept", multiple=True, metavar="ID", help="Let this finding not block any more. Kept for the Flow.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is accepted. Kept for the Flow.")
@click.option("--lint", type=click.Choice(["sam"]), help="Also look whether the app's checks keep the limits of SAM.")
@plugin_settings_options
@json_option
@with_settings
def check(
    places: tuple[str, ...],
    flow: str | None,
    files: tuple[str, str] | None,
    quick: bool,
    accept: tuple[str, ...],
    reason: str,
    lint: str | None,
    source_settings: dict[str, str],
    destination_settings: dict[str, str],
    as_json: bool,
    settings: Settings,
) -> int:
    """Check SOURCE and DESTINATION, or a FLOW, before data moves. Nothing is changed.

    All rows are read once. Each check says ok, warning or blocks, and what to do. A finding that is excludable can be
    accepted: `--accept ID --reason TEXT`.

    Exit code: 0 nothing blocks; 1 something does; 2 wrong usage or settings.
    """
    if len(places) > 2 or (len(places) == 1 and (flow or files)):
        raise click.UsageError("Name SOURCE and DESTINATION, or one FLOW.")
    source, destination = places if len(places) == 2 else (None, None)
    report = run_interruptible(
        lambda: check_places(
            source,
            destination,
            flow=places[0] if source is None else flow,
            files=files or None,
            source_settings=source_settings,
            destination_settings=destination_settings,
            accept=accept,
            reason=reason,
            quick=quick,
            lint=lint or "",
            settings=settings,
        )
    )
    if as_json:
        print_object(report_object(report))
    else:
        click.echo("\n".join(_lines(report)))
    return exit_codes.NOT_DONE if report.verdict is Severity.BLOCKS else exit_codes.SUCCESS


def _lines(report: CheckReport) -> Iterator[str]:
    yield f"{printable(report.source)} to {printable(report.destination)}"
    yield ""
    for finding in report.findings:
        yield from _finding_lines(finding)
    yield ""
    blocking = sum(one.blocks for one in report.findings)
    warnings = sum(one.severity is Severity.WARNING for one in report.findings)
    yield f"{count(len(report.findings), 'check')}, {count(warnings, 'warning')}, {blocking:,} blocking."
    yield _VERDICTS[report.verdict]


def _finding_lines(finding: CheckFinding) -> Iterator[str]:
    yield f"  {finding.severity.value:<8} {printable(finding.id):<12} {printable(finding.title)}"
    if finding.severity is Severity.OK:
        return
    yield from (f"           {printable(one)}" for one in finding.sample)
    if finding.count > len(finding.sample) > 0:
        yield f"           … and {finding.count - len(finding.sample):,} more"
    if finding.accepted is not None:
        yield f"           Accepted: {printable(finding.accepted)}"
    elif finding.steps:
        yield f"           {printable(finding.steps)}"
    if finding.blocks and finding.excludable:
        yield f"           To accept it: --accept {printable(finding.id)} --reason TEXT"


def report_object(report: CheckReport) -> dict[str, object]:
    """Return the report for a program."""
    estimate = report.estimate
    return {
        "flow": report.flow,
        "source": report.source,
        "destination": report.destination,
        "verdict": report.verdict.value,
        "findings": [
            {
                "id": one.id,
                "severity": one.severity.value,
                "title": one.title,
                "count": one.count,
                "sample": one.sample,
                "steps": one.steps,
                "excludable": one.excludable,
                "accepted": one.accepted,
            }
            for one in report.findings
        ],
        "estimate": None
        if estimate is None
        else {
            "rows": estimate.rows,
            "bytes": estimate.bytes,
            "seconds": {"least": round(estimate.seconds[0], 3), "most": round(estimate.seconds[1], 3)},
        },
    }
