"""`pipeline rerun`: moves what a Movement left."""

from __future__ import annotations

import click

from pipeline.assembly.commands.lifecycle.reruns import rerun as rerun_movement
from pipeline.assembly.progress_counts import Tally
from pipeline.cli.commands.lifecycle.ended import print_ended
from pipeline.cli.commands.movements.watched import run_watched
from pipeline.cli.options import json_option, with_settings
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option(
    "--movement", type=click.IntRange(min=1), metavar="N", help="Run this Movement again [default: the latest]."
)
@json_option
@with_settings
def rerun(flow: str, movement: int | None, as_json: bool, settings: Settings) -> int:
    """Run a Movement of FLOW again that is INCOMPLETE, FAILED, TIMED_OUT or CANCELLED.

    A new Movement names the original, and moves only what is missing. The command says first how much that is. It runs in
    this process if the original did, else workers run it. It is allowed within 12 days (a window of the Flow).

    Exit code: as of `pipeline move`; 0 when it was announced to workers.
    """
    tally = Tally()
    moved = run_watched(
        lambda reporter: rerun_movement(
            flow, movement=movement, tell=lambda text: click.echo(text, err=True), settings=settings, reporter=reporter
        ),
        tally,
        settings,
        as_json=as_json,
    )
    return print_ended(moved, tally, as_json=as_json)
