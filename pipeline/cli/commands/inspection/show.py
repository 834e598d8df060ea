"""`pipeline show`: prints an Event File readably."""

from __future__ import annotations

import click

from pipeline.assembly.commands.show import show as show_event_file
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.event_file import EventFilePrinter
from pipeline.settings import Settings


@click.command()
@click.argument("event_file", metavar="EVENT_FILE|PATH")
@click.option("--flow", metavar="NAME", help="The Flow of the Event File, if several have one with this id.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Print at most N records [default: all].")
@json_option
@with_settings
def show(event_file: str, flow: str | None, limit: int | None, as_json: bool, settings: Settings) -> None:
    """Print an Event File: its header and its records.

    EVENT_FILE is an id as `pipeline files` prints it (movement/stream/phase/chunk), or the key of a stored object. PATH
    is a file on this computer, compressed or not. With --json, the lines are printed as they are stored.
    """
    printer = EventFilePrinter(as_json=as_json, limit=limit)
    run_async(lambda: show_event_file(event_file, printer.print_part, flow=flow, settings=settings))
    printer.print_end()
