"""`pipeline compact`: fold a long history into a fresh snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.engine.maintenance.compaction import Compaction, Extent


@click.command(short_help="Fold the history of a Flow's streams into fresh snapshots.")
@click.argument("flow")
@click.option("--stream", multiple=True, metavar="GLOB", help="Only streams that match. May be given repeatedly.")
@json_option
@common_options
def compact(
    flow: str, stream: tuple[str, ...], as_json: bool, home: Path | None, config: Path | None, debug: bool
) -> None:
    """Fold what FLOW has stored of each stream over many Movements into a fresh snapshot, without reading the source.

    A new destination then imports the snapshot and no history. One that has the history skips the snapshot. What the
    snapshot replaces is deleted by `pipeline prune`.
    """
    settings = prepare(home, config)
    existing_home(settings)
    from pipeline.assembly.commands.maintenance import compact as compact_flow
    from pipeline.cli.command_signals import until_interrupted

    compaction = run_async(lambda: until_interrupted(lambda: compact_flow(flow, stream, settings)))
    if as_json:
        from pipeline.cli.output.json_output import print_object

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
    from pipeline.cli.output.text import columns, count, printable, size

    lines = [
        f"{printable(stream)} was left as it is: {printable(reason)}." for stream, reason in compaction.left.items()
    ]
    if compaction.movement is None:
        return [*lines, f"Flow {printable(compaction.flow)}: there is nothing to fold."]
    rows = [("stream", "Event Files", "are now", "records", "are now", "stored", "is now")]
    for stream in compaction.streams:
        before, after = stream.before, stream.after
        counts = (f"{before.files:,}", f"{after.files:,}", f"{before.records:,}", f"{after.records:,}")
        rows.append((printable(stream.stream), *counts, size(before.stored_bytes), size(after.stored_bytes)))
    done = f"{count(len(compaction.streams), 'stream')} folded, as Movement {compaction.movement}."
    return [*columns(rows, indent=""), *lines, f"Flow {printable(compaction.flow)}: {done}"]
