"""Running the Movement of a Flow that shares under the eyes of the user: for `flow import`, and after `move`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import run_async

if TYPE_CHECKING:
    from pipeline.settings import Settings


def import_and_tell(name: str, settings: Settings, *, as_json: bool) -> int:
    """Bring one further destination up to date, tell what came of it, and return the exit code."""
    from pipeline.assembly.commands.flows import import_flow
    from pipeline.assembly.progress_counts import Tally
    from pipeline.cli.command_signals import until_interrupted
    from pipeline.cli.output.json_output import movement_object, print_object
    from pipeline.cli.output.logs import LogReporter
    from pipeline.cli.output.progress import Fanout, show_progress
    from pipeline.cli.output.summary import summary_lines

    tally = Tally()
    reporter = Fanout([tally, LogReporter()])
    with show_progress(tally, as_json=as_json, seconds=settings.progress_seconds):
        movement = run_async(lambda: until_interrupted(lambda: import_flow(name, settings, reporter)))
    if as_json:
        print_object(movement_object(movement))
    else:
        click.echo("\n".join(summary_lines(movement, tally)))
    return exit_codes.SUCCESS if movement.status == "SUCCESS" else exit_codes.NOT_DONE


def import_behind(name: str, settings: Settings, *, as_json: bool) -> int:
    """After FLOW has moved, bring every further destination of it up to date; return the worst exit code."""
    from pipeline.assembly.commands.flows import flows_behind
    from pipeline.cli.output.text import printable
    from pipeline.domain.errors import PipelineError
    from pipeline.domain.exception_groups import unwrap_exception_group

    codes = [exit_codes.SUCCESS]
    for flow in run_async(lambda: flows_behind(name, settings)):
        try:
            with unwrap_exception_group():
                codes.append(import_and_tell(flow.name, settings, as_json=as_json))
        except PipelineError as error:  # one destination that is out of reach must not keep the others from theirs
            click.echo(f"pipeline: Flow {printable(flow.name)}: {printable(str(error))}", err=True)
            codes.append(exit_codes.NOT_DONE)
    return max(codes)
