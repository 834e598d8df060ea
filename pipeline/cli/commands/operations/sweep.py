"""`pipeline sweep`: ring again for what was forgotten."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, json_option, prepare, run_async


@click.command(short_help="Announce again what is under way and nobody is at work on.")
@json_option
@common_options
def sweep(as_json: bool, home: Path | None, config: Path | None, debug: bool) -> int:
    """Announce again what is complete and not imported, or started and not exported, and nobody alive is at work on.

    It looks twice, some seconds apart: a worker that goes on in between is alive. Workers sweep by themselves; this is
    for after a queue was emptied or made anew, and for cron.
    """
    settings = prepare(home, config)
    from pipeline.assembly.commands.workers import sweep as sweep_flows
    from pipeline.cli.output.json_output import print_object
    from pipeline.cli.output.logs import LogReporter
    from pipeline.codec.documents.message import GroupCompleted

    rung = run_async(lambda: sweep_flows(settings, LogReporter()))
    if as_json:
        print_object({"rung": len(rung)})
        return exit_codes.SUCCESS
    for message in rung:
        group = f", group {message.label}" if isinstance(message, GroupCompleted) else ""
        click.echo(f"{type(message).__name__}: Flow {message.flow}, Movement {message.movement}{group}")
    click.echo(f"{len(rung)} announced again." if rung else "Nothing to announce: all is imported, waiting or at work.")
    return exit_codes.SUCCESS
