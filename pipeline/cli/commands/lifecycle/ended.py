"""What `rerun` and `reload` print at their end."""

from __future__ import annotations

import click

from pipeline.assembly.progress_counts import Tally
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import exit_code, print_summary
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.text import printable
from pipeline.domain.movement import Movement


def print_ended(movement: Movement, tally: Tally, *, as_json: bool) -> int:
    """Print a Movement that has settled here, or was announced to workers; return the exit code."""
    if as_json:
        print_object(movement_object(movement))
    elif movement.settled:
        print_summary(movement, tally)
    else:
        click.echo(f"Movement {movement.number} of Flow {printable(movement.flow)} is announced to workers.")
    return exit_code(movement) if movement.settled else exit_codes.SUCCESS
