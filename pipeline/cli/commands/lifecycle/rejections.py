"""What `retry` and `rejected` have in common: which records are meant, and what became of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TypeVar

import click

from pipeline.assembly.commands.lifecycle.rejected import Retried
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count

Command = TypeVar("Command", bound=Callable[..., object])


def selection_options(command: Command) -> Command:
    """Add --stream and --reason."""
    command = click.option("--reason", default="", metavar="TEXT", help="Only records with this text in the reason.")(
        command
    )
    return click.option(
        "--stream",
        "streams",
        multiple=True,
        metavar="GLOB",
        help="Only records of streams that match. May be given repeatedly.",
    )(command)


def print_retried(retried: Retried, *, as_json: bool) -> None:
    """Print what became of the records that were tried again."""
    movement = retried.movement
    if as_json:
        print_object(
            {
                "flow": movement.flow,
                "movement": movement.number,
                "status": movement.status.value,
                "tried": retried.tried,
                "accepted": retried.accepted,
                "superseded": retried.superseded,
                "rejected": retried.left,
            }
        )
        return
    click.echo(
        f"{count(retried.tried, 'record')} tried again: {retried.accepted:,} accepted, {retried.left:,} rejected."
    )
    if retried.superseded:
        click.echo(f"A newer version of {count(retried.superseded, 'record')} was loaded meanwhile, and stays.")
    if retried.left:
        click.echo(f"  Why: pipeline rejected {shlex.quote(movement.flow)}")
