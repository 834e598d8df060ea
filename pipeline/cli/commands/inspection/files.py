"""`pipeline files`: lists the Event Files of a Flow."""

from __future__ import annotations

import click

from pipeline.assembly.commands.status import FileListing, list_files
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, count, printable, size
from pipeline.domain.event_file import FileEntry
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--movement", type=click.IntRange(min=1), metavar="N", help="As of this Movement [default: the latest].")
@json_option
@with_settings
def files(flow: str, movement: int | None, as_json: bool, settings: Settings) -> None:
    """List the Event Files of FLOW in the order in which they are imported, and which of them the destination has.

    If the destination does not answer within two seconds, what it has imported is shown as unknown.
    """
    listing = run_async(lambda: list_files(flow, movement, settings=settings))
    if as_json:
        for entry in listing.entries:
            print_object(_object(listing, entry))
    else:
        _print_table(listing)
    if listing.marks.by_file is None:
        reason = printable(listing.marks.unknown_because)
        click.echo(f"What is imported is unknown, since the destination did not answer: {reason}", err=True)


def _print_table(listing: FileListing) -> None:
    rows = [("Event File", "group", "upserts", "deletes", "stored", "imported")]
    for entry in listing.entries:
        counts = (f"{entry.upserts:,}", f"{entry.deletes:,}", size(entry.size))
        rows.append((str(entry.id), printable(entry.label), *counts, _imported(listing, entry)))
    for line in columns(rows, indent=""):
        click.echo(line)
    marks = listing.marks.by_file
    imported = "?" if marks is None else f"{sum(entry.id in marks for entry in listing.entries):,}"
    passed_over = f", {len(listing.passed_over):,} passed over" if listing.passed_over else ""
    click.echo(f"{count(len(listing.entries), 'Event File')}, {imported} imported{passed_over}.")


def _imported(listing: FileListing, entry: FileEntry) -> str:
    marks = listing.marks.by_file
    mark = None if marks is None else marks.get(entry.id)
    word = "unknown" if marks is None else "no" if mark is None else "yes"
    if entry.id in listing.passed_over:
        word = "passed over"
    return f"{word}, {mark.rejected:,} rejected" if mark is not None and mark.rejected else word


def _object(listing: FileListing, entry: FileEntry) -> dict[str, object]:
    marks = listing.marks.by_file
    mark = None if marks is None else marks.get(entry.id)
    return {
        "file": str(entry.id),
        "label": entry.label,
        "key": entry.key,
        "encoding": entry.encoding.value,
        "size": entry.size,
        "checksum": entry.checksum,
        "upserts": entry.upserts,
        "deletes": entry.deletes,
        "imported": None if marks is None else mark is not None,
        "quarantined": 0 if mark is None else mark.rejected,
        "passed_over": entry.id in listing.passed_over,
    }
