"""`pipeline revoke`: takes an approval of a Flow back, and stops its Movement."""

from __future__ import annotations

import click

from pipeline.assembly.commands.declared.approve import revoke as revoke_approval
from pipeline.cli.commands.flows.approve import approval_object, side_options
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import moment, printable
from pipeline.domain.flows.declaration import Side
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@side_options
@click.option("--reason", default="", metavar="TEXT", help="Why. Kept with the Flow.")
@json_option
@with_settings
def revoke(flow: str, side: str, by: str, reason: str, as_json: bool, settings: Settings) -> None:
    """Revoke the approval of FLOW from one side. A Movement that has not settled is stopped, as by `pipeline stop`.

    No other Movement is exported until it is approved again.
    """
    recorded, stopped = run_async(lambda: revoke_approval(flow, Side(side), by, reason, settings=settings))
    if as_json:
        print_object({"flow": flow, "stopped": stopped, **approval_object(recorded)})
        return
    click.echo(f"Revoked by {printable(recorded.by)} at {moment(recorded.at)}.")
    if stopped:
        click.echo("The Movement is stopped.")
