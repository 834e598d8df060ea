"""`pipeline verify`: compares a Flow's destination with its source, and with --repair makes them equal."""

from __future__ import annotations

from contextlib import ExitStack

import click

from pipeline.assembly.commands.verify import Repair
from pipeline.assembly.commands.verify import repair as repair_flow
from pipeline.assembly.commands.verify import verify as verify_flow
from pipeline.assembly.progress_counts import Tally
from pipeline.assembly.reporters import Fanout, LogReporter
from pipeline.cli import exit_codes
from pipeline.cli.options import allow_deletes_option, json_option, setting_flags, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.progress import show_progress
from pipeline.cli.output.verify_report import repair_lines, repair_object, report_lines, report_object
from pipeline.cli.signals import run_interruptible
from pipeline.domain.comparison.report import Against, Verification
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option(
    "--stream", multiple=True, metavar="GLOB", help="Compare only streams that match. May be given repeatedly."
)
@click.option("--repair", is_flag=True, help="Move what differs, and nothing else, in a Movement of its own.")
@click.option(
    "--against",
    type=click.Choice([against.value for against in Against]),
    default=Against.SOURCE.value,
    show_default=True,
    help="Compare with the source as it is now, or with what the Flow stored last, without reading the source.",
)
@click.option(
    "--keys",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Name at most N differing keys of each stream.",
)
@setting_flags
@allow_deletes_option
@json_option
@with_settings
def verify(
    flow: str,
    stream: tuple[str, ...],
    repair: bool,
    against: str,
    keys: int,
    allow_deletes: tuple[str, ...],
    as_json: bool,
    settings: Settings,
) -> int:
    """Compare the destination of FLOW with its source, stream by stream and key by key. Each is read once.

    Nothing is changed without --repair. The contents of files are read and compared, whatever their times. The password
    of a database comes from the environment or a pass file, as for the database's own tools.

    Exit code: 0 equal (with --repair: in the end); 1 different; 2 wrong usage or settings.
    """
    if repair and against == Against.STORED:
        raise click.UsageError("--repair moves what the source holds, so it cannot go with --against stored.")
    if repair:
        return _print_repair(_repair(flow, stream, keys, allow_deletes, settings, as_json=as_json), as_json=as_json)
    found = run_interruptible(
        lambda: verify_flow(flow, streams=stream, against=Against(against), examples=keys, settings=settings)
    )
    if as_json:
        print_object(report_object(found))
    else:
        click.echo("\n".join(report_lines(found)))
    return exit_codes.SUCCESS if found.equal else exit_codes.NOT_DONE


def _repair(
    flow: str, streams: tuple[str, ...], keys: int, allow_deletes: tuple[str, ...], settings: Settings, *, as_json: bool
) -> Repair:
    """Repair. The differences are printed before anything is moved, and then progress is shown."""
    tally = Tally()
    with ExitStack() as showing:

        def print_found(found: Verification) -> None:
            if not as_json:
                click.echo("\n".join([*report_lines(found), ""]))
                showing.enter_context(show_progress(tally, as_json=False, seconds=settings.progress_seconds))

        reporter = Fanout([tally, LogReporter()])
        return run_interruptible(
            lambda: repair_flow(
                flow,
                streams=streams,
                examples=keys,
                allow_deletes=allow_deletes,
                on_found=print_found,
                settings=settings,
                reporter=reporter,
            )
        )


def _print_repair(done: Repair, *, as_json: bool) -> int:
    if as_json:
        print_object(repair_object(done))
    else:
        click.echo("\n".join(repair_lines(done)))
    return exit_codes.SUCCESS if done.after.equal else exit_codes.NOT_DONE
