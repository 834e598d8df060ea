"""Runs Movements with progress shown, and prints what they came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from pipeline.assembly.commands.flows import flows_behind, import_flow
from pipeline.assembly.progress_counts import Tally
from pipeline.assembly.reporters import Fanout, LogReporter
from pipeline.cli import exit_codes
from pipeline.cli.options import run_async
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.progress import show_progress
from pipeline.cli.output.summary import summary_lines
from pipeline.cli.output.text import printable
from pipeline.cli.signals import run_interruptible
from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.movement import Movement, Status
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings


def run_watched(
    work: Callable[[Reporter], Awaitable[Movement]], tally: Tally, settings: Settings, *, as_json: bool
) -> Movement:
    """Run a Movement until it has settled. It is counted in `tally`, and shown."""
    reporter = Fanout([tally, LogReporter()])
    with show_progress(tally, as_json=as_json, seconds=settings.progress_seconds):
        return run_interruptible(lambda: work(reporter))


def print_summary(movement: Movement, tally: Tally) -> None:
    """Print the summary of a settled Movement."""
    click.echo("\n".join(summary_lines(movement, tally)))


def exit_code(movement: Movement) -> int:
    """Return the exit code for a settled Movement."""
    return exit_codes.SUCCESS if movement.status is Status.SUCCESS else exit_codes.NOT_DONE


def import_derived_flow(name: str, settings: Settings, *, overwrite: bool = False, as_json: bool) -> int:
    """Bring the destination of a derived Flow up to date, print the result, and return the exit code."""
    tally = Tally()
    movement = run_watched(
        lambda reporter: import_flow(name, overwrite=overwrite, settings=settings, reporter=reporter),
        tally,
        settings,
        as_json=as_json,
    )
    if as_json:
        print_object(movement_object(movement))
    else:
        print_summary(movement, tally)
    return exit_code(movement)


def import_derived_flows(origin: str, settings: Settings, *, as_json: bool) -> int:
    """Bring the destinations of all derived Flows of `origin` up to date; return the worst exit code."""
    codes = [exit_codes.SUCCESS]
    for flow in run_async(lambda: flows_behind(origin, settings=settings)):
        try:
            with unwrap_exception_group():
                codes.append(import_derived_flow(flow.name, settings, as_json=as_json))
        except PipelineError as error:  # one destination that cannot be reached must not keep the others waiting
            click.echo(f"pipeline: Flow {printable(flow.name)}: {printable(str(error))}", err=True)
            codes.append(exit_codes.NOT_DONE)
    return max(codes)
