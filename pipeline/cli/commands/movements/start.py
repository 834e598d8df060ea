"""`pipeline start`: creates a Movement and announces it to workers."""

from __future__ import annotations

import click

from pipeline.assembly.commands.workers import start as start_movement
from pipeline.assembly.commands.workers import wait_settled
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import exit_code
from pipeline.cli.options import accept_missing_option, allow_deletes_option, json_option, run_async, with_settings
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.text import printable
from pipeline.cli.signals import run_interruptible
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@click.option("--restart", is_flag=True, help="Cancel a Movement that has not settled, and start a new one.")
@click.option("--wait", is_flag=True, help="Wait until it has settled; the exit code is then as of `pipeline move`.")
@allow_deletes_option
@accept_missing_option
@json_option
@with_settings
def start(
    flow: str,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    restart: bool,
    allow_deletes: tuple[str, ...],
    accept_missing: tuple[str, ...],
    wait: bool,
    as_json: bool,
    settings: Settings,
) -> int:
    """Create a Movement of FLOW and announce it; workers export and import it.

    A Movement that has not settled is announced again with its own choices, and no new one is created; with other
    choices this is refused, unless --restart cancels it. `pipeline flow create` creates a FLOW; `pipeline status` shows
    how far it is.
    """
    movement, is_new = run_async(
        lambda: start_movement(
            flow,
            only=only,
            exclude=exclude,
            allow_deletes=allow_deletes,
            restart=restart,
            accept_missing=accept_missing,
            settings=settings,
        )
    )
    what = f"Movement {movement.number} of Flow {printable(flow)}"
    if not as_json:
        own = f" with {movement.choices}" if str(movement.choices) else ""
        again = "is announced" if is_new else f"has not settled, and is announced again{printable(own)}"
        click.echo(f"{what} {again}.")
    if wait:
        movement = run_interruptible(
            lambda: wait_settled(flow, movement.number, settings=settings), stopping="The Movement goes on."
        )
        if not as_json:
            click.echo(f"{what} has settled: {movement.status.value}.")
    if as_json:
        print_object(movement_object(movement))
    return exit_code(movement) if wait else exit_codes.SUCCESS
