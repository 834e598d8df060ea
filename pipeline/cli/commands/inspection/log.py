"""`pipeline log`: what Importers have told people."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import click

from pipeline.assembly.commands.people_log import LOG_COLUMNS, Told, log_values, read_log
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, moment, printable
from pipeline.codec.cells import guarded
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@click.option("--movement", type=click.IntRange(min=1), metavar="N", help="Of this Movement only.")
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write CSV to FILE."
)
@json_option
@with_settings
def log(flow: str, movement: int | None, csv_file: Path | None, as_json: bool, settings: Settings) -> None:
    """Show what the Importer of FLOW has told people, oldest first: all of it.

    --json prints an object for each line.
    """
    run_async(lambda: _show(flow, read_log(flow, movement, settings=settings), csv_file, as_json=as_json))


async def _show(flow: str, told: AsyncGenerator[Told, None], csv_file: Path | None, *, as_json: bool) -> None:
    async with aclosing(told) as lines:
        if csv_file is None:
            async for one in lines:
                if as_json:
                    print_object(dict(zip(LOG_COLUMNS, log_values(flow, one), strict=True)))
                else:
                    where = f"{one.line.file}, line {one.line.line}"
                    click.echo(printable(f"{moment(one.line.time)}  {where}  {one.line.text}"))
            return
        written = await _write_csv(flow, lines, csv_file)
    if as_json:
        print_object({"flow": flow, "lines": written, "csv": str(csv_file)})
    else:
        click.echo(f"{count(written, 'line')} written to {printable(str(csv_file))}.")


async def _write_csv(flow: str, lines: AsyncIterator[Told], path: Path) -> int:
    written = 0
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(LOG_COLUMNS)
            async for one in lines:
                writer.writerow(guarded(log_values(flow, one)))
                written += 1
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}. Name another file with --csv."
        ) from error
    return written
