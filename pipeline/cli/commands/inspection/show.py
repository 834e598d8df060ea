"""`pipeline show`: an Event File, readable."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async


@click.command(short_help="Print an Event File so that a person can read it.")
@click.argument("event_file", metavar="EVENT_FILE|PATH")
@click.option("--flow", metavar="NAME", help="The Flow of the Event File, where several have one of this id.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Print at most N records [default: all].")
@json_option
@common_options
def show(
    event_file: str,
    flow: str | None,
    limit: int | None,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> None:
    """Print an Event File: its header and its records.

    EVENT_FILE is an id as `pipeline files` prints it (movement/stream/phase/chunk) or the key of a stored object; PATH
    is a file on this computer, compressed or not. With --json the lines are printed as they are stored.
    """
    from pipeline.cli.output.event_file_printer import EventFilePrinter, show_from_path, show_from_store

    settings = prepare(home, config)
    printer = EventFilePrinter(as_json=as_json, limit=limit)
    path = Path(event_file)
    if path.is_file():
        show_from_path(path, printer)
        return
    existing_home(settings)
    run_async(lambda: show_from_store(settings, event_file, flow, printer))
