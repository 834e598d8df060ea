"""`pipeline prune`: delete what nobody can need any more; first only say what that would be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.domain.planning.retention import Reason
    from pipeline.engine.maintenance.pruning import OnObject, Pruning
    from pipeline.ports.object_store import ObjectInfo
    from pipeline.settings import Settings


@click.command(short_help="Delete what nobody can need any more.")
@click.argument("flow")
@click.option("--yes", is_flag=True, help="Delete. Without it, nothing is deleted, and what would be is told.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Keep the progress and failures of Movements that settled within so many days.",
)
@click.option("--take-over", is_flag=True, help="Carry on what another process began, which is gone for certain.")
@json_option
@common_options
def prune(
    flow: str,
    yes: bool,
    keep_days: float,
    take_over: bool,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> None:
    """Tell what of FLOW nobody can need any more, and with --yes delete it.

    What goes: File Lists and states that later ones have replaced, Event Files that no File List names any more (after
    `pipeline compact`, most of all), Binary Files that nothing refers to, and old reports. Every destination, new or
    half-way, still gets everything. Not possible while a Movement has not settled.
    """
    settings = prepare(home, config)
    existing_home(settings)
    kept = timedelta(days=keep_days)
    pruning = _prune(flow, kept, _print_object if as_json else _no_note, settings, yes=yes, take_over=take_over)
    if as_json:
        from pipeline.cli.output.json_output import print_object

        print_object(_object(pruning))
    else:
        click.echo("\n".join(_lines(pruning)))


def _prune(
    flow: str, kept: timedelta, on_object: OnObject, settings: Settings, *, yes: bool, take_over: bool
) -> Pruning:
    from pipeline.assembly.commands.maintenance import look_to_prune
    from pipeline.assembly.commands.maintenance import prune as prune_flow
    from pipeline.cli.command_signals import until_interrupted

    if not yes:
        return run_async(lambda: look_to_prune(flow, kept, on_object, settings))
    return run_async(
        lambda: until_interrupted(lambda: prune_flow(flow, kept, on_object, settings, take_over=take_over))
    )


def _no_note(info: ObjectInfo, reason: Reason) -> None:
    """The sums are enough for a person."""


def _print_object(info: ObjectInfo, reason: Reason) -> None:
    from pipeline.cli.output.json_output import print_object

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
    from pipeline.cli.output.text import columns, count, printable, size

    objects = sum(amount.objects for amount in pruning.going.values())
    stored_bytes = sum(amount.stored_bytes for amount in pruning.going.values())
    staying = f"{count(pruning.staying.objects, 'object')} of {size(pruning.staying.stored_bytes)}"
    if not objects:
        return [f"Flow {printable(pruning.flow)}: there is nothing to delete. All that is stored is needed: {staying}."]
    rows = [("objects", "stored", "what")]
    rows += [
        (f"{amount.objects:,}", size(amount.stored_bytes), reason.value) for reason, amount in pruning.going.items()
    ]
    verb = ("was" if objects == 1 else "were") if pruning.deleted else "would be"
    done = f"{count(objects, 'object')} of {size(stored_bytes)} {verb} deleted; {staying} stay."
    hint = [] if pruning.deleted else [f"Nothing has been deleted yet. To delete: pipeline prune {pruning.flow} --yes"]
    return [*columns(rows, indent=""), f"Flow {printable(pruning.flow)}: {done}", *hint]
