"""`pipeline demo`: moves a small app three times, and compares source and copy each time."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from pipeline.assembly.commands.move import move
from pipeline.assembly.progress_counts import Tally
from pipeline.cli import exit_codes
from pipeline.cli.commands.movements.watched import run_watched
from pipeline.cli.demo.app import build_app, change_app
from pipeline.cli.demo.check import differences, tree_differences
from pipeline.cli.options import common_options, prepare
from pipeline.cli.output.text import columns, count, duration
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.movement import Movement, Status
from pipeline.settings import Settings

MARKER = ".pipeline-demo"
"""A file in each directory that the demo has made. Such a directory is removed and made again."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files and directories of the demo."""

    root: Path

    @property
    def app(self) -> tuple[Path, Path]:
        """The app to move: its database and its attachments."""
        return self.root / "app.db", self.root / "attachments"

    @property
    def copy(self) -> tuple[Path, Path]:
        """The destination."""
        return self.root / "copy.db", self.root / "attachments-copy"


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where to build the app. The directory is made again each time; one with anything else in it is left alone.",
)
@common_options
def demo(directory: Path, home: Path | None, config: Path | None) -> int:
    """Build a small app, move it, change it, move it again, and once more without any change.

    Shows that later Movements move only what is new, and compares source and copy itself. Exit code 0 only if all of
    that holds.
    """
    settings = prepare(home or directory / "home", config)
    places = Places(_make_directory(directory))
    return exit_codes.SUCCESS if _show(places, settings) else exit_codes.NOT_DONE


def _make_directory(directory: Path) -> Path:
    try:
        if directory.exists():
            if any(directory.iterdir()) and not (directory / MARKER).exists():
                raise ConfigurationError(f"{directory} is not empty and not a demo's. Name another with --directory.")
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        (directory / MARKER).touch()
    except OSError as error:
        raise RefusedError(
            f"The demo cannot be built in {directory}: {error}. Name another with --directory."
        ) from error
    return directory


def _show(places: Places, settings: Settings) -> bool:
    rows = build_app(*places.app)
    click.echo(f"1. An app: {places.app[0]} with {count(rows, 'row')}, and its attachments in {places.app[1]}.")
    click.echo(f"   Move all of it to {places.copy[0]} and {places.copy[1]}:")
    first, equal_first = _move(places, settings)
    changes = change_app(*places.app)
    click.echo("2. A day's work: " + ", ".join(f"{number} {what}" for what, number in changes.items()) + ". Again:")
    second, equal_second = _move(places, settings)
    click.echo("3. Nothing has changed. Once more:")
    third, equal_third = _move(places, settings)
    facts = [
        *_facts(first, second, third),
        (equal_first and equal_second and equal_third, "source and copy were equal each time"),
    ]
    click.echo("What that shows:")
    for holds, words in facts:
        click.echo(f"   {'yes' if holds else 'NO '}  {words}")
    _print_next_commands(settings)
    return all(holds for holds, _ in facts)


def _print_next_commands(settings: Settings) -> None:
    command = "pipeline" if shutil.which("pipeline") else sys.argv[0]
    click.echo("Look around:")
    for arguments in ("status", "files demo", "show 2/order/incremental/0"):
        click.echo(f"   {command} {arguments} --home {settings.home}")


def _move(places: Places, settings: Settings) -> tuple[Movement, bool]:
    """Move once, print what was moved, and compare; return the Movement and whether source and copy are equal."""
    (database, attachments), (copy, attachments_copy) = places.app, places.copy
    files = (str(attachments), str(attachments_copy))
    movement = run_watched(
        lambda reporter: move(str(database), str(copy), flow="demo", files=files, settings=settings, reporter=reporter),
        Tally(),
        settings,
        as_json=False,
    )
    _print_movement(movement)
    found = [*differences(database, copy), *tree_differences(attachments, attachments_copy)]
    for difference in found:
        click.echo(f"   DIFFERENT: {difference}")
    if not found:
        click.echo("   Compared table by table and file by file: source and copy are equal.")
    return movement, not found


def _print_movement(movement: Movement) -> None:
    totals = movement.totals
    for problem in movement.problems:
        click.echo(f"   {problem}")
    counts = (totals.files_exported, totals.files_imported, totals.files_skipped, totals.files_failed)
    rows = [
        ("Event Files", "exported", "imported", "skipped", "failed"),
        ("", *(f"{number:,}" for number in counts)),
    ]
    click.echo("\n".join(columns(rows, indent="   ")))
    click.echo(
        f"   {movement.status.value}: {count(totals.upserts, 'upsert')}, {count(totals.deletes, 'delete')}, "
        f"{count(totals.binaries_stored, 'new Binary File')}, in {duration(totals.seconds)}"
    )


def _facts(first: Movement, second: Movement, third: Movement) -> list[tuple[bool, str]]:
    """Return what must hold for the three Movements, and whether it does."""
    one, two, three = first.totals, second.totals, third.totals
    return [
        (
            all(movement.status is Status.SUCCESS for movement in (first, second, third)),
            "all three Movements ended with SUCCESS",
        ),
        (
            two.files_imported == two.files_exported > 0 and two.files_skipped == one.files_imported,
            f"the second imported the {two.files_imported} Event Files that were new, and skipped the "
            f"{two.files_skipped} that had been imported",
        ),
        (
            three.files_imported == three.files_exported == 0,
            f"the third found nothing new: {three.files_imported} imported, {three.files_skipped} skipped",
        ),
    ]
