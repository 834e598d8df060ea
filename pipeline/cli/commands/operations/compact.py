"""`pipeline compact`: replaces a long history by a fresh snapshot."""

from __future__ import annotations

import click

from pipeline.assembly.commands.maintenance.manual import compact as compact_flow
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, count, printable, size
from pipeline.cli.signals import run_interruptible
from pipeline.engine.maintenance.compaction import Compaction, Extent
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--stream", multiple=True, metavar="GLOB", help="Only streams that match. May be given repeatedly.")
@json_option
@with_settings
def compact(flow: str, stream: tuple[str, ...], as_json: bool, settings: Settings) -> None:
    """Replace the history that FLOW has stored of each stream by a fresh snapshot. The source is not read.

    A new destination then imports the snapshot and no history. A destination that has the history skips the snapshot.
    `pipeline prune` deletes what the snapshot replaces.
    """
    compaction = run_interruptible(lambda: compact_flow(flow, stream, settings=settings))
    if as_json:
        print_object(_object(compaction))
    else:
        click.echo("\n".join(_lines(compaction)))


def _object(compaction: Compaction) -> dict[str, object]:
    def amounts(extent: Extent) -> dict[str, int]:
        return {"event_files": extent.files, "records": extent.records, "bytes": extent.stored_bytes}

    return {
        "flow": compaction.flow,
        "movement": compaction.movement,
        "streams": [
            {"stream": stream.stream, "before": amounts(stream.before), "after": amounts(stream.after)}
            for stream in compaction.streams
        ],
        "left": [{"stream": stream, "reason": reason} for stream, reason in compaction.left.items()],
    }


def _lines(compaction: Compaction) -> list[str]:
    left = [
        f"{printable(stream)} was not compacted: {printable(reason)}." for stream, reason in compaction.left.items()
    ]
    if compaction.movement is None:
        return [*left, f"Flow {printable(compaction.flow)}: there is nothing to compact."]
    rows = [("stream", "Event Files", "are now", "records", "are now", "stored", "is now")]
    for stream in compaction.streams:
        before, after = stream.before, stream.after
        counts = (f"{before.files:,}", f"{after.files:,}", f"{before.records:,}", f"{after.records:,}")
        rows.append((printable(stream.stream), *counts, size(before.stored_bytes), size(after.stored_bytes)))
    done = f"{count(len(compaction.streams), 'stream')} compacted, as Movement {compaction.movement}."
    return [*columns(rows, indent=""), *left, f"Flow {printable(compaction.flow)}: {done}"]
