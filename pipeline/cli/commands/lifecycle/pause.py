"""`pipeline pause`: nothing more of a Movement is begun until it is resumed."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from pipeline.assembly.commands.lifecycle.wishes import pause as pause_movement
from pipeline.cli.commands.lifecycle.wished import group_option, print_wished, reason_option, until_option
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@group_option
@until_option
@reason_option
@json_option
@with_settings
def pause(
    flow: str,
    groups: tuple[str, ...],
    until: datetime | timedelta | None,
    reason: str,
    as_json: bool,
    settings: Settings,
) -> None:
    """Pause the Movement of FLOW: transactions in hand end, and nothing new is begun.

    `pipeline resume FLOW` goes on with it; so does the time of --until. The time in which nothing may move stops meanwhile,
    the life of the Movement does not. Pausing a paused Movement changes at most --until and --reason.
    """
    wished = run_async(lambda: pause_movement(flow, groups=groups, until=until, reason=reason, settings=settings))
    print_wished(wished, as_json=as_json)
