"""`pipeline start`: creates a Movement and announces it to workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from shlex import quote

import click

from pipeline.assembly.commands.lifecycle.starts import start as start_movement
from pipeline.assembly.commands.workers import wait_settled
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import exit_code
from pipeline.cli.options import (
    accept_missing_option,
    allow_deletes_option,
    json_option,
    overwrite_option,
    run_async,
    with_settings,
)
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.text import printable
from pipeline.cli.signals import run_interruptible
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@click.option("--restart", is_flag=True, help="Stop a Movement that has not settled, and start a new one.")
@click.option("--queue", is_flag=True, help="Start a new one once the present Movement has settled.")
@click.option("--wait", is_flag=True, help="Wait until it has settled; the exit code is then as of `pipeline move`.")
@allow_deletes_option
@overwrite_option
@accept_missing_option
@json_option
@with_settings
def start(
    flow: str,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    restart: bool,
    queue: bool,
    allow_deletes: tuple[str, ...],
    overwrite: bool,
    accept_missing: tuple[str, ...],
    wait: bool,
    as_json: bool,
    settings: Settings,
) -> int:
    """Create a Movement of FLOW and announce it; workers export and import it.

    This is refused while another Movement has not settled. With --queue the new one begins once that has; --restart
    stops it first. `pipeline flow create` creates a FLOW; `pipeline status` shows how far it is.
    """
    if queue and restart:
        raise click.UsageError("--restart stops the present Movement, --queue waits for it: give one of them.")
    movement, is_new = run_async(
        lambda: start_movement(
            flow,
            only=only,
            exclude=exclude,
            allow_deletes=allow_deletes,
            overwrite=overwrite,
            restart=restart,
            queue=queue,
            accept_missing=accept_missing,
            settings=settings,
        )
    )
    what = f"Movement {movement.number} of Flow {printable(flow)}"
    if not as_json:
        waits = (
            f"has not settled. The new one begins once it has; `pipeline stop {quote(printable(flow))}` takes it back."
        )
        click.echo(f"{what} {'is announced.' if is_new else waits}")
    for number in _awaited(movement.number, is_new=is_new) if wait else ():
        movement = run_interruptible(
            partial(wait_settled, flow, number, settings=settings), stopping="The Movement goes on."
        )
        what = f"Movement {number} of Flow {printable(flow)}"
        if not as_json:
            click.echo(f"{what} has settled: {movement.status.value}.")
    if as_json:
        print_object(movement_object(movement))
    return exit_code(movement) if wait else exit_codes.SUCCESS


def _awaited(number: int, *, is_new: bool) -> Sequence[int]:
    """Return the Movements to wait for: of a queued start, the present one and then the new one."""
    return (number,) if is_new else (number, number + 1)
