"""`pipeline start`: create a Movement and announce it to workers."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, json_option, prepare, run_async


@click.command(short_help="Start a Movement of FLOW; workers do the rest.")
@click.argument("flow")
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@click.option("--wait", is_flag=True, help="Wait until it has settled, and let the exit code tell how.")
@json_option
@common_options
def start(
    flow: str,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    wait: bool,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> int:
    """Create a Movement of FLOW and announce it; workers export and import it.

    One that has not settled is announced again, and no new one is made. `pipeline flow create` makes a FLOW,
    `pipeline status` shows how far it is.
    """
    settings = prepare(home, config)
    from pipeline.assembly.commands.workers import start as start_movement
    from pipeline.assembly.commands.workers import wait_settled
    from pipeline.cli.output.json_output import movement_object, print_object
    from pipeline.domain.ids import FlowName

    name = FlowName(flow)
    movement, is_new = run_async(lambda: start_movement(name, settings, only, exclude))
    if not as_json:
        told = "is announced" if is_new else "has not settled, and is announced again"
        click.echo(f"Movement {movement.number} of Flow {flow} {told}.")
    if wait:
        movement = run_async(lambda: wait_settled(name, movement.number, settings))
        if not as_json:
            click.echo(f"Movement {movement.number} of Flow {flow} has settled: {movement.status.value}.")
    if as_json:
        print_object(movement_object(movement))
    return exit_codes.SUCCESS if not wait or movement.status == "SUCCESS" else exit_codes.NOT_DONE
