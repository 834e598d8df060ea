"""`pipeline move`: runs one Movement, from the first row to the final status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import click

from pipeline.assembly.commands.move import move as move_data
from pipeline.assembly.metering.meter import serve_metrics
from pipeline.assembly.progress_counts import Tally
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import exit_code, import_derived_flows, print_summary, run_watched
from pipeline.cli.options import (
    accept_missing_option,
    allow_deletes_option,
    json_option,
    metrics_option,
    overwrite_option,
    plugin_settings_options,
    setting_flags,
    with_settings,
)
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.signals import run_interruptible
from pipeline.domain.movement import Movement
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings


@click.command()
@click.argument("source", required=False)
@click.argument("destination", required=False)
@click.option("--flow", metavar="NAME", help="The name of this connection [default: made from the two places].")
@click.option(
    "--files",
    nargs=2,
    metavar="SRC_DIR DST_DIR",
    help="Move a directory tree as well, such as the attachments that belong to a database.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Move only streams that match. May be given repeatedly.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out streams that match. May be given repeatedly.")
@allow_deletes_option
@accept_missing_option
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@metrics_option
@setting_flags
@plugin_settings_options
@json_option
@with_settings
def move(
    source: str | None,
    destination: str | None,
    flow: str | None,
    files: tuple[str, str] | None,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    allow_deletes: tuple[str, ...],
    accept_missing: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    metrics_listen: str | None,
    source_settings: dict[str, str],
    destination_settings: dict[str, str],
    as_json: bool,
    settings: Settings,
) -> int:
    """Move what is new from SOURCE to DESTINATION; without them, the Flow of --flow NAME as it is declared.

    Each is an SQLite database, a PostgreSQL database or a directory tree: a path, or a URL such as
    sqlite:///relative.db, sqlite:////absolute.db, postgresql://user@host:5432/database or file:///directory/. Or it is an
    Exporter or Importer in Python: ./file.py:name, package.module:name, or the name of an installed one and a colon. Or it
    is an export of the public platform: sam:DIRECTORY or sam:s3://bucket/prefix.

    The first time everything is moved, later only what has changed. If it is stopped or killed, the same command
    carries on where it stopped. The destinations of derived Flows (`pipeline flow add-destination`) are then brought up
    to date.

    Exit code: 0 everything has arrived; 1 something has not; 2 wrong usage or settings; 130 interrupted.
    """
    _ensure_named(source, destination, flow)
    choose = partial(
        dict[str, Any],
        flow=flow,
        files=files or None,
        only=only,
        exclude=exclude,
        allow_deletes=allow_deletes,
        source_settings=source_settings,
        destination_settings=destination_settings,
        settings=settings,
    )
    if dry_run:
        ends = partial(choose, source=source, destination=destination, overwrite=overwrite)
        return _print_forecast(ends, as_json=as_json)
    tally = Tally()
    more = choose(accept_missing=accept_missing, overwrite=overwrite)
    work = partial(_move_metered, listen=metrics_listen or "", source=source, destination=destination, **more)
    movement = run_watched(work, tally, settings, as_json=as_json)
    if not as_json:
        print_summary(movement, tally)
    try:
        worst = import_derived_flows(movement.flow, settings, as_json=as_json)
    finally:
        if as_json:
            print_object(movement_object(movement))  # the last line is that of the named Flow
    return max(exit_code(movement), worst)


async def _move_metered(reporter: Reporter, listen: str, **choices: Any) -> Movement:
    async with serve_metrics(replace(choices["settings"], metrics_listen=listen)) as meter:
        return await move_data(reporter=meter.reporter(reporter) if meter else reporter, **choices)


def _ensure_named(source: str | None, destination: str | None, flow: str | None) -> None:
    if (source is None) is not (destination is None) or (source is None and flow is None):
        raise click.UsageError("Missing argument: name SOURCE and DESTINATION, or a Flow with --flow NAME alone.")


def _print_forecast(choose: Callable[[], dict[str, Any]], *, as_json: bool) -> int:
    from pipeline.assembly.commands.dry_run import dry_run
    from pipeline.cli.output.forecast import forecast_lines, forecast_object

    forecast = run_interruptible(lambda: dry_run(**choose()))
    if as_json:
        print_object(forecast_object(forecast))
    else:
        click.echo("\n".join(forecast_lines(forecast)))
    return exit_codes.NOT_DONE if forecast.problems else exit_codes.SUCCESS
