"""`pipeline retry`: tries the rejected records again."""

from __future__ import annotations

import click

from pipeline.assembly.commands.lifecycle.rejected import retry_rejected
from pipeline.cli import exit_codes
from pipeline.cli.commands.lifecycle.rejections import print_retried, selection_options
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.signals import run_interruptible
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@selection_options
@json_option
@with_settings
def retry(flow: str, streams: tuple[str, ...], reason: str, as_json: bool, settings: Settings) -> int:
    """Load the rejected records of FLOW again, after the destination was corrected.

    The order of each key is kept, and a newer version of a record wins. The status of the Movement does not change, only
    its counts. `pipeline rejected FLOW` lists the records.

    Exit code: 0 all that were tried are accepted; 1 some are still rejected.
    """
    retried = run_interruptible(lambda: retry_rejected(flow, streams=streams, reason=reason, settings=settings))
    print_retried(retried, as_json=as_json)
    return exit_codes.NOT_DONE if retried.left else exit_codes.SUCCESS
