"""`pipeline start`: creates a Movement and announces it to workers."""

from __future__ import annotations

import click

from pipeline.assembly.commands.workers import start as start_movement
from pipeline.assembly.commands.workers import wait_settled
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import exit_code
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.text import printable
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@click.option("--wait", is_flag=True, help="Wait until it has settled; the exit code is then as of `pipeline move`.")
@json_option
@with_settings
def start(
    flow: str, only: tuple[str, ...], exclude: tuple[str, ...], wait: bool, as_json: bool, settings: Settings
) -> int:
    """Create a Movement of FLOW and announce it; workers export and import it.

    A Movement that has not settled is announced again, and no new one is created. `pipeline flow create` creates a FLOW;
    `pipeline status` shows how far it is.
    """
    movement, is_new = run_async(lambda: start_movement(flow, only=only, exclude=exclude, settings=settings))
    what = f"Movement {movement.number} of Flow {printable(flow)}"
    if not as_json:
        click.echo(f"{what} {'is announced' if is_new else 'has not settled, and is announced again'}.")
    if wait:
        movement = run_async(lambda: wait_settled(flow, movement.number, settings=settings))
        if not as_json:
            click.echo(f"{what} has settled: {movement.status.value}.")
    if as_json:
        print_object(movement_object(movement))
    return exit_code(movement) if wait else exit_codes.SUCCESS
