"""`pipeline files`: the File Lists of a Flow, and what of them is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.assembly.commands.status import Listing


@click.command(short_help="List the Event Files of a Flow, and which are imported.")
@click.argument("flow")
@click.option("--movement", type=click.IntRange(min=1), metavar="N", help="As of this Movement [default: the latest].")
@json_option
@common_options
def files(flow: str, movement: int | None, as_json: bool, home: Path | None, config: Path | None, debug: bool) -> None:
    """List the Event Files of FLOW in the order in which they are to be imported, and which the destination has."""
    from pipeline.assembly.commands.status import list_files

    settings = prepare(home, config)
    existing_home(settings)
    listing = run_async(lambda: list_files(settings, flow, movement))
    if as_json:
        _print_json(listing)
    else:
        _print_table(listing)


def _print_table(listing: Listing) -> None:
    from pipeline.cli.output.text import columns, count, printable, size

    rows = [("Event File", "group", "upserts", "deletes", "stored", "imported")]
    for entry in listing.entries:
        mark = listing.marks.get(entry.id) if listing.marks is not None else None
        word = "unknown" if listing.marks is None else "no" if mark is None else "yes"
        if entry.id in listing.passed_over:
            word = "passed over"
        if mark is not None and mark.rejected:
            word += f", {mark.rejected:,} set aside"
        counts = (f"{entry.upserts:,}", f"{entry.deletes:,}", size(entry.size))
        rows.append((str(entry.id), printable(entry.label), *counts, word))
    for line in columns(rows, indent=""):
        click.echo(line)
    imported = sum(entry.id in listing.marks for entry in listing.entries) if listing.marks is not None else "?"
    passed_over = f", {len(listing.passed_over):,} passed over" if listing.passed_over else ""
    click.echo(f"{count(len(listing.entries), 'Event File')}, {imported} imported{passed_over}.")
    if listing.marks is None:
        click.echo("The destination is not there: what it has imported is unknown.", err=True)


def _print_json(listing: Listing) -> None:
    from pipeline.cli.output.json_output import print_object

    for entry in listing.entries:
        mark = listing.marks.get(entry.id) if listing.marks is not None else None
        print_object(
            {
                "file": str(entry.id),
                "label": entry.label,
                "key": entry.key,
                "encoding": entry.encoding.value,
                "size": entry.size,
                "checksum": entry.checksum,
                "upserts": entry.upserts,
                "deletes": entry.deletes,
                "imported": None if listing.marks is None else mark is not None,
                "quarantined": 0 if mark is None else mark.rejected,
                "passed_over": entry.id in listing.passed_over,
            }
        )
