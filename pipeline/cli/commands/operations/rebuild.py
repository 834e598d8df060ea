"""`pipeline rebuild`: makes the memory of a Flow from its source and destination."""

from __future__ import annotations

from shlex import quote

import click

from pipeline.assembly.commands.maintenance.manual import rebuild as rebuild_flow
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, printable
from pipeline.cli.signals import run_interruptible
from pipeline.engine.verify.rebuild import Rebuilding
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@json_option
@with_settings
def rebuild(flow: str, as_json: bool, settings: Settings) -> None:
    """Make the memory of FLOW from its source and destination, after stored objects were taken away.

    Both are read and compared, as by `verify`; no row is changed. The next `pipeline move` moves what differs. The history
    that was stored before is given up, so no other destination can be added to the Flow.
    """
    done = run_interruptible(lambda: rebuild_flow(flow, settings=settings))
    if as_json:
        print_object(
            {
                "flow": done.movement.flow,
                "movement": done.movement.number,
                "differences": dict(done.differences),
                "whole": dict(done.whole),
            }
        )
    else:
        click.echo("\n".join(_lines(done)))


def _lines(done: Rebuilding) -> list[str]:
    lines = [f"{printable(stream)}: {count(number, 'key')} to move" for stream, number in done.differences.items()]
    lines += [f"{printable(stream)}: moved as a whole: {printable(reason)}" for stream, reason in done.whole.items()]
    known = count(len(done.movement.states), "stream")
    remedy = f"`pipeline move --flow {quote(printable(done.movement.flow))}` moves what differs."
    lines.append(f"Rebuilt as Movement {done.movement.number}: {known} known. {remedy}")
    return lines
