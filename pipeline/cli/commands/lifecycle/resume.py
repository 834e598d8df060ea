"""`pipeline resume`: goes on with a paused Movement."""

from __future__ import annotations

import click

from pipeline.assembly.commands.lifecycle.wishes import resume as resume_movement
from pipeline.cli.commands.lifecycle.wished import group_option, print_wished
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@group_option
@json_option
@with_settings
def resume(flow: str, groups: tuple[str, ...], as_json: bool, settings: Settings) -> None:
    """Go on with the paused Movement of FLOW, where it stopped.

    A `pipeline move` that waits finds this by itself; workers get a message. With --group, only these groups go on; without,
    all paused groups do.
    """
    print_wished(run_async(lambda: resume_movement(flow, groups=groups, settings=settings)), as_json=as_json)
