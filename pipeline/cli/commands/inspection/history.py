"""`pipeline history`: shows what happened in a Flow."""

from __future__ import annotations

import click

from pipeline.assembly.commands.history import history as read_history
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, printable
from pipeline.cli.output.timeline import event_object, timeline_lines
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--movement", type=click.IntRange(min=1), metavar="N", help="Of this Movement only.")
@json_option
@with_settings
def history(flow: str, movement: int | None, as_json: bool, settings: Settings) -> None:
    """Show what happened in FLOW, oldest first: when each Movement began, what became of its groups, how it ended.

    docs/reference/events.md describes the events.
    """
    found = run_async(lambda: read_history(flow, movement, settings=settings))
    if as_json:
        print_object({"flow": found.flow, "unknown": found.unknown, "events": list(map(event_object, found.events))})
        return
    if found.unknown:
        click.echo(f"Of Movements 1 to {found.unknown:,} no events are stored.")
    if not found.events:
        click.echo(f"Nothing has happened in Flow {printable(flow)} yet.")
        return
    click.echo("\n".join(timeline_lines(found.events)))
    click.echo(count(len(found.events), "event"))
