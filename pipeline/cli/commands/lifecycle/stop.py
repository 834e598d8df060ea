"""`pipeline stop`: ends a Movement before its end."""

from __future__ import annotations

import click

from pipeline.assembly.commands.lifecycle.wishes import stop as stop_movement
from pipeline.cli.commands.lifecycle.wished import group_option, print_wished, reason_option
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@group_option
@reason_option
@json_option
@with_settings
def stop(flow: str, groups: tuple[str, ...], reason: str, as_json: bool, settings: Settings) -> None:
    """Stop the Movement of FLOW: transactions in hand end, nothing new is begun, and it is CANCELLED.

    What is imported stays; `pipeline rerun FLOW` moves the rest. While work is in hand, the Movement is
    CANCELLATION_REQUESTED, for an hour at most. A process that wakes up after the end cannot commit any more, unless its
    transaction has locked the destination for all of that hour.
    """
    wished = run_async(lambda: stop_movement(flow, groups=groups, reason=reason, settings=settings))
    print_wished(wished, as_json=as_json)
