"""`pipeline verify`: whether a Flow's destination equals its source, and with --repair that it does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.assembly.commands.verify import Repair
    from pipeline.domain.comparison.report import Verification
    from pipeline.engine.verify.verifier import VerifyRequest
    from pipeline.settings import Settings


@click.command(short_help="Prove that a Flow's destination equals its source.")
@click.argument("flow")
@click.option(
    "--stream", multiple=True, metavar="GLOB", help="Compare only streams that match. May be given repeatedly."
)
@click.option("--repair", is_flag=True, help="Move what differs, and nothing else, by a Movement of its own.")
@click.option(
    "--against",
    type=click.Choice(["source", "stored"]),
    default="source",
    show_default=True,
    help="Compare with the source as it is now, or with what the Flow has stored last, without reading the source.",
)
@click.option(
    "--keys",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Name at most N keys that differ of each stream.",
)
@json_option
@common_options
def verify(
    flow: str,
    stream: tuple[str, ...],
    repair: bool,
    against: str,
    keys: int,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> int:
    """Compare the destination of FLOW with its source, stream by stream and key by key. Each is read once.

    Nothing is changed without --repair. The contents of files are read, whatever their times say. A database's
    password comes from the environment or a pass file, as for its own tools.

    Exit code: 0 equal (with --repair: in the end); 1 different; 2 the command cannot be right.
    """
    from pipeline.domain.comparison.report import Against
    from pipeline.engine.verify.verifier import VerifyRequest

    settings = prepare(home, config)
    existing_home(settings)
    request = VerifyRequest(streams=stream, against=Against(against), examples=keys)
    found = _repair(flow, request, settings, as_json=as_json) if repair else _verify(flow, request, settings)
    return _tell(found, as_json=as_json)


def _verify(flow: str, request: VerifyRequest, settings: Settings) -> Verification:
    from pipeline.assembly.commands.verify import verify as verify_flow
    from pipeline.cli.command_signals import until_interrupted

    return run_async(lambda: until_interrupted(lambda: verify_flow(flow, request, settings)))


def _repair(flow: str, request: VerifyRequest, settings: Settings, *, as_json: bool) -> Verification | Repair:
    """Compare and repair under the eyes of the user: what was found is told before anything is moved."""
    from pipeline.assembly.commands.verify import repair as repair_flow
    from pipeline.assembly.progress_counts import Tally
    from pipeline.cli.command_signals import until_interrupted
    from pipeline.cli.output.logs import LogReporter
    from pipeline.cli.output.progress import Fanout, show_progress
    from pipeline.cli.output.verify_report import report_lines

    tally = Tally()
    with ExitStack() as showing:

        def tell(found: Verification) -> None:
            if not as_json:
                click.echo("\n".join([*report_lines(found), ""]))
                showing.enter_context(show_progress(tally, as_json=False, seconds=settings.progress_seconds))

        reporter = Fanout([tally, LogReporter()])
        return run_async(lambda: until_interrupted(lambda: repair_flow(flow, request, settings, reporter, tell)))


def _tell(found: Verification | Repair, *, as_json: bool) -> int:
    from pipeline.assembly.commands.verify import Repair
    from pipeline.cli.output.json_output import print_object
    from pipeline.cli.output.verify_report import repair_lines, repair_object, report_lines, report_object

    if isinstance(found, Repair):
        document, lines, last = repair_object(found), repair_lines(found), found.after
    else:
        document, lines, last = report_object(found), report_lines(found), found
    if as_json:
        print_object(document)
    else:
        click.echo("\n".join(lines))
    return exit_codes.SUCCESS if last.equal else exit_codes.NOT_DONE
