"""`pipeline move`: one Movement, from the first row to the final status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.assembly.commands.move import MoveRequest
    from pipeline.assembly.progress_counts import Tally
    from pipeline.domain.movement import Movement
    from pipeline.settings import Settings


@click.command(short_help="Move what is new from SOURCE to DESTINATION.")
@click.argument("source")
@click.argument("destination")
@click.option("--flow", metavar="NAME", help="The name of this connection [default: made from the two places].")
@click.option(
    "--files",
    nargs=2,
    metavar="SRC_DIR DST_DIR",
    help="Move a directory tree as well, such as the attachments that belong to a database.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@json_option
@common_options
def move(
    source: str,
    destination: str,
    flow: str | None,
    files: tuple[str, str] | None,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> int:
    """Move what is new from SOURCE to DESTINATION.

    Each is an SQLite file or a directory: a path, or a URL such as sqlite:///relative.db, sqlite:////absolute.db or
    file:///directory/. The first time everything is moved, later only what changed. Stopped or killed, the same
    command carries on where it was. Further destinations of the Flow (`pipeline flow add-destination`) are then brought
    up to date.

    Exit code: 0 all is there; 1 something is not; 2 the command cannot be right; 130 interrupted.
    """
    settings = prepare(home, config)
    from pipeline.assembly.commands.move import MoveRequest

    request = MoveRequest(
        source=source, destination=destination, flow=flow, files=files or None, only=only, exclude=exclude
    )
    return move_and_tell(request, settings, as_json=as_json)


def move_and_tell(request: MoveRequest, settings: Settings, *, as_json: bool) -> int:
    """Run a Movement under the eyes of the user, tell what came of it, and return the exit code.

    Further destinations of the Flow are brought up to date after it.
    """
    from pipeline.assembly.progress_counts import Tally
    from pipeline.cli.commands.movements.derived_import import import_behind

    tally = Tally()
    movement = watched_move(request, settings, tally, as_json=as_json)
    own = exit_codes.SUCCESS if movement.status == "SUCCESS" else exit_codes.NOT_DONE
    if as_json:
        from pipeline.cli.output.json_output import movement_object, print_object

        try:
            further = import_behind(movement.flow, settings, as_json=True)
        finally:
            print_object(movement_object(movement))  # the last line is that of the Flow that was named
    else:
        from pipeline.cli.output.summary import summary_lines

        click.echo("\n".join(summary_lines(movement, tally)))
        further = import_behind(movement.flow, settings, as_json=False)
    return max(own, further)


def watched_move(request: MoveRequest, settings: Settings, tally: Tally, *, as_json: bool) -> Movement:
    """Run a Movement until it has settled, showing progress meanwhile."""
    from pipeline.assembly.commands.move import move as move_data
    from pipeline.cli.command_signals import until_interrupted
    from pipeline.cli.output.logs import LogReporter
    from pipeline.cli.output.progress import Fanout, show_progress

    reporter = Fanout([tally, LogReporter()])
    with show_progress(tally, as_json=as_json, seconds=settings.progress_seconds):
        return run_async(lambda: until_interrupted(lambda: move_data(request, settings, reporter)))
