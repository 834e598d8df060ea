"""`pipeline rejected`: lists the rejected records, and takes corrected ones back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.assembly.commands.lifecycle.corrections import Correction, RejectedRow, cell_of, read_csv, write_csv
from pipeline.assembly.commands.lifecycle.rejected import list_rejected, load_corrected
from pipeline.cli import exit_codes
from pipeline.cli.commands.lifecycle.rejections import print_retried, selection_options
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, printable
from pipeline.cli.signals import run_interruptible
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.settings import Settings


@click.command()
@click.argument("flow")
@selection_options
@click.option("--csv", "csv_file", metavar="FILE", help="Write them to a CSV file; - is standard output.")
@click.option("--load", "load_file", metavar="FILE", help="Load records that were corrected in such a file.")
@json_option
@with_settings
def rejected(
    flow: str,
    streams: tuple[str, ...],
    reason: str,
    csv_file: str | None,
    load_file: str | None,
    as_json: bool,
    settings: Settings,
) -> int:
    """List the rejected records of FLOW, with file, line, key, column, value and reason.

    To correct them, write them with --csv FILE, change `value` (or `record`, the whole of it) in that file, and give it back
    with --load FILE: the corrected records are loaded.

    Exit code: 0; with --load 1 if a corrected record is still rejected.
    """
    if load_file is not None:
        if csv_file is not None or streams or reason:
            raise click.UsageError("--load takes the rows of its file: leave out --csv, --stream and --reason.")
        corrections = _read(load_file)
        retried = run_interruptible(lambda: load_corrected(flow, corrections, settings=settings))
        print_retried(retried, as_json=as_json)
        return exit_codes.NOT_DONE if retried.left else exit_codes.SUCCESS
    rows = run_async(lambda: list_rejected(flow, streams=streams, reason=reason, settings=settings))
    if csv_file is not None:
        _write(rows, csv_file)
        if csv_file != "-":
            click.echo(f"{count(len(rows), 'rejected record')} written to {printable(csv_file)}.", err=as_json)
    elif as_json:
        for row in rows:
            print_object(asdict(row))
    else:
        click.echo("\n".join(_lines(rows)) or f"Flow {printable(flow)} has no rejected records.")
    return exit_codes.SUCCESS


def _lines(rows: Sequence[RejectedRow]) -> list[str]:
    return [
        f"{printable(row.file or f'{row.stream}, at the source')}"
        + ("" if row.line is None else f", line {row.line}")
        + f", key {printable(row.key)}"
        + ("" if row.column is None else f", column {printable(row.column)} = {printable(cell_of(row.value))}")
        + f": {printable(row.reason)}"
        for row in rows
    ]


def _write(rows: Sequence[RejectedRow], name: str) -> None:
    if name == "-":
        write_csv(rows, sys.stdout)
        return
    try:
        with Path(name).open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            write_csv(rows, file)
    except OSError as error:
        raise RefusedError(f"{name} cannot be written: {error.strerror}. Name another file with --csv.") from error


def _read(name: str) -> Sequence[Correction]:
    try:
        with Path(name).open(newline="", encoding="utf-8-sig") as file:
            return read_csv(file, name)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}. Name another file with --load.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8 text. Save it as UTF-8, and load it again.") from error
