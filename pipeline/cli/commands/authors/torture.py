"""`pipeline torture`: runs an author's Exporter or Importer under faults, and tells the shortest story that fails."""

from __future__ import annotations

import sys

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import json_option
from pipeline.cli.output.json_output import print_object

_ERASED = "\r\x1b[K"
"""Takes the line with the progress off the terminal."""


def _read_keys(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    wrong = [value for value in values if not all(value.partition("="))]
    if wrong:
        raise click.BadParameter(
            f"{', '.join(map(repr, wrong))} is not complete. Write STREAM=FIELD or STREAM=FIELD,FIELD."
        )
    return {name: tuple(fields.split(",")) for name, fields in (value.split("=", 1) for value in values)}


@click.command()
@click.argument("plugins", nargs=-1, required=True, metavar="EXPORTER|IMPORTER...")
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many seeds to run.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(0), help="Run this seed alone.")
@click.option("--key", "keys", multiple=True, callback=_read_keys, metavar="STREAM=FIELD", help="The key of a stream.")
@json_option
def torture(
    plugins: tuple[str, ...], seeds: int, first: int, seed: int | None, keys: dict[str, tuple[str, ...]], as_json: bool
) -> int:
    """Run an Exporter, an Importer, or one into the other, under faults that a number decides: the seed.

    Exit code: 0 nothing is wrong; 1 something is lost, or is there twice; 2 wrong usage.
    """
    from pipeline.testing.torture.report import as_document, summary, told  # they load the engine
    from pipeline.testing.torture.seeds import Request
    from pipeline.testing.torture.seeds import torture as run

    chosen = range(first, first + seeds) if seed is None else range(seed, seed + 1)
    request = Request(plugins, keys)
    shows = sys.stderr.isatty() and not as_json
    result = run(request, chosen, _show_progress if shows else lambda done: None)
    if shows:
        click.echo(_ERASED, nl=False, err=True)
    if as_json:
        print_object(as_document(request, result))
    elif result.shortest is None:
        click.echo(summary(result))
    else:
        click.echo(told(request, result.shortest))
    return exit_codes.SUCCESS if result.shortest is None else exit_codes.NOT_DONE


def _show_progress(done: int) -> None:
    click.echo(f"\r{done:,} seeds", nl=False, err=True)
