"""`pipeline reload`: moves all of a stream again."""

from __future__ import annotations

import click

from pipeline.assembly.commands.lifecycle.reruns import reload as reload_stream
from pipeline.assembly.progress_counts import Tally
from pipeline.cli.commands.lifecycle.ended import print_ended
from pipeline.cli.commands.movements.watched import run_watched
from pipeline.cli.options import json_option, with_settings
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.argument("stream")
@json_option
@with_settings
def reload(flow: str, stream: str, as_json: bool, settings: Settings) -> int:
    """Export STREAM of FLOW again as a whole, and import it. Rows that are gone at the source are deleted.

    It runs in this process if the latest Movement did, else workers run it. Exit code: as of `pipeline move`; 0 when it was
    announced to workers.
    """
    tally = Tally()
    moved = run_watched(
        lambda reporter: reload_stream(flow, stream, settings=settings, reporter=reporter),
        tally,
        settings,
        as_json=as_json,
    )
    return print_ended(moved, tally, as_json=as_json)
