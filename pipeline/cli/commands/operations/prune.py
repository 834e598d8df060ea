"""`pipeline prune`: shows what a Flow no longer needs, and with --yes deletes it."""

from __future__ import annotations

import shlex
from datetime import timedelta

import click

from pipeline.assembly.commands.maintenance.manual import prune as prune_flow
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, count, printable, size
from pipeline.cli.signals import run_interruptible
from pipeline.domain.planning.retention import Reason
from pipeline.engine.maintenance.pruning import Pruning
from pipeline.ports.object_store import ObjectInfo
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--yes", is_flag=True, help="Delete. Without it, only show what would be deleted.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Keep the progress and failures of Movements that settled within this many days [default: 30, or as declared].",
)
@click.option("--take-over", is_flag=True, help="Carry on the pruning of another process. That process must be dead.")
@json_option
@with_settings
def prune(flow: str, yes: bool, keep_days: float | None, take_over: bool, as_json: bool, settings: Settings) -> None:
    """Show what of FLOW is no longer needed, and with --yes delete it.

    These are File Lists and states that later ones have replaced, Event Files that no File List names any more (most of
    them after `pipeline compact`), Binary Files without references, and old reports. Every destination, new or half-way,
    still gets everything. Not possible while a Movement has not settled.
    """
    pruning = run_interruptible(
        lambda: prune_flow(
            flow,
            delete=yes,
            kept=None if keep_days is None else timedelta(days=keep_days),
            take_over=take_over,
            on_object=_print_object if as_json else None,
            settings=settings,
        )
    )
    if as_json:
        print_object(_object(pruning))
    else:
        click.echo("\n".join(_lines(pruning)))


def _print_object(info: ObjectInfo, reason: Reason) -> None:
    print_object({"key": info.key, "size": info.size, "kind": reason.name.lower()})


def _object(pruning: Pruning) -> dict[str, object]:
    return {
        "flow": pruning.flow,
        "deleted": pruning.deleted,
        "going": [
            {
                "kind": reason.name.lower(),
                "why": reason.value,
                "objects": amount.objects,
                "bytes": amount.stored_bytes,
            }
            for reason, amount in pruning.going.items()
        ],
        "staying": {"objects": pruning.staying.objects, "bytes": pruning.staying.stored_bytes},
    }


def _lines(pruning: Pruning) -> list[str]:
    objects = sum(amount.objects for amount in pruning.going.values())
    stored_bytes = sum(amount.stored_bytes for amount in pruning.going.values())
    staying = f"{count(pruning.staying.objects, 'object')} of {size(pruning.staying.stored_bytes)}"
    flow = printable(pruning.flow)
    if not objects:
        return [f"Flow {flow}: there is nothing to delete. Everything stored is needed: {staying}."]
    rows = [("objects", "stored", "what")]
    rows += [
        (f"{amount.objects:,}", size(amount.stored_bytes), reason.value) for reason, amount in pruning.going.items()
    ]
    verb = ("was" if objects == 1 else "were") if pruning.deleted else "would be"
    done = f"{count(objects, 'object')} of {size(stored_bytes)} {verb} deleted; {staying} stay."
    hint = (
        []
        if pruning.deleted
        else [f"Nothing has been deleted yet. To delete: pipeline prune {shlex.quote(pruning.flow)} --yes"]
    )
    return [*columns(rows, indent=""), f"Flow {flow}: {done}", *hint]
