"""`pipeline sweep`: announces forgotten work again."""

from __future__ import annotations

import click

from pipeline.assembly.commands.workers import sweep as sweep_flows
from pipeline.assembly.reporters import LogReporter
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import printable
from pipeline.cli.signals import run_interruptible
from pipeline.codec.documents.message import GroupCompleted, MovementStarted, QueueMessage
from pipeline.settings import Settings


@click.command()
@json_option
@with_settings
def sweep(as_json: bool, settings: Settings) -> None:
    """Announce again what is complete but not imported, or started but not exported, and held by no live worker.

    It looks twice, some seconds apart: a worker that makes progress in between is alive. Workers sweep by themselves;
    this command is for cron, and for after a queue was emptied or replaced.
    """
    announced = run_interruptible(lambda: sweep_flows(settings=settings, reporter=LogReporter()), stopping="Stopping.")
    if as_json:
        print_object({"rung": len(announced)})
        return
    for message in announced:
        click.echo(f"Flow {printable(message.flow)}, Movement {message.movement}: {_subject(message)}")
    click.echo(f"{len(announced)} announced again." if announced else "There is nothing to announce again.")


def _subject(message: QueueMessage) -> str:
    if isinstance(message, GroupCompleted):
        return f"import of group {printable(message.label)}"
    return "export" if isinstance(message, MovementStarted) else "end of the export"
