"""`pipeline demo`: a small app, moved three times, with proof."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options

if TYPE_CHECKING:
    from pipeline.assembly.progress_counts import Tally
    from pipeline.domain.movement import Movement
    from pipeline.settings import Settings

MARKER = ".pipeline-demo"
"""A file that says that a directory was made by the demonstration, and may be made anew."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the demonstration takes place."""

    root: Path

    @property
    def app(self) -> tuple[Path, Path]:
        """The app that is moved: database and attachments."""
        return self.root / "app.db", self.root / "attachments"

    @property
    def copy(self) -> tuple[Path, Path]:
        """Where it is moved to."""
        return self.root / "copy.db", self.root / "attachments-copy"


@click.command(short_help="Build a small app, move it, change it, move it again.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where to build it. Made anew each time; a directory with anything else in it is left alone.",
)
@common_options
def demo(directory: Path, home: Path | None, config: Path | None, debug: bool) -> int:
    """Build a small app, move it, change it, move it again, and once more without any change.

    Shows that later Movements move only what is new, and compares source and destination itself. Exit code 0 only if
    all of that holds.
    """
    from pipeline.cli.options import prepare

    settings = prepare(home or directory / "home", config)
    places = Places(_fresh(directory))
    return exit_codes.SUCCESS if _tell_story(places, settings) else exit_codes.NOT_DONE


def _fresh(directory: Path) -> Path:
    from pipeline.domain.errors import ConfigurationError, RefusedError

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


def _tell_story(places: Places, settings: Settings) -> bool:
    from pipeline.cli.demo.app import build_app, change_app
    from pipeline.cli.output.text import count

    rows = build_app(*places.app)
    click.echo(f"1. An app: {places.app[0]} with {count(rows, 'row')}, and its attachments in {places.app[1]}.")
    click.echo(f"   Move all of it to {places.copy[0]} and {places.copy[1]}:")
    first, good = _move(places, settings)
    changes = change_app(*places.app)
    click.echo("2. A day's work: " + ", ".join(f"{number} {what}" for what, number in changes.items()) + ". Again:")
    second, good_again = _move(places, settings)
    click.echo("3. Nothing has changed. Once more:")
    third, good_still = _move(places, settings)
    facts = [
        *_facts(first, second, third),
        (good and good_again and good_still, "source and copy were equal each time"),
    ]
    click.echo("What that shows:")
    for holds, words in facts:
        click.echo(f"   {'yes' if holds else 'NO '}  {words}")
    _invite(settings)
    return all(holds for holds, _ in facts)


def _invite(settings: Settings) -> None:
    """Say how to look around, in commands that work as they stand."""
    command = "pipeline" if shutil.which("pipeline") else sys.argv[0]
    click.echo("Look around:")
    for arguments in ("status", "files demo", "show 2/order/incremental/0"):
        click.echo(f"   {command} {arguments} --home {settings.home}")


def _move(places: Places, settings: Settings) -> tuple[Movement, bool]:
    """Move once, say what was moved, and compare; return the Movement and whether all is equal."""
    from pipeline.assembly.commands.move import MoveRequest
    from pipeline.assembly.progress_counts import Tally
    from pipeline.cli.commands.movements.move import watched_move
    from pipeline.cli.demo.check import differences, tree_differences

    (database, attachments), (copy, attachments_copy) = places.app, places.copy
    request = MoveRequest(
        source=str(database),
        destination=str(copy),
        flow="demo",
        files=(str(attachments), str(attachments_copy)),
        only=(),
        exclude=(),
    )
    tally = Tally()
    movement = watched_move(request, settings, tally, as_json=False)
    _say(movement, tally)
    found = [*differences(database, copy), *tree_differences(attachments, attachments_copy)]
    for difference in found:
        click.echo(f"   DIFFERENT: {difference}")
    if not found:
        click.echo("   Compared table by table and file by file: source and copy are equal.")
    return movement, not found


def _say(movement: Movement, tally: Tally) -> None:
    from pipeline.cli.output.text import columns, count, duration

    totals = movement.totals
    for problem in movement.problems:
        click.echo(f"   {problem}")
    rows = [
        ("Event Files", "exported", "imported", "skipped", "failed"),
        (
            "",
            f"{totals.files_exported:,}",
            f"{totals.files_imported:,}",
            f"{totals.files_skipped:,}",
            f"{totals.files_failed:,}",
        ),
    ]
    click.echo("\n".join(columns(rows, indent="   ")))
    click.echo(
        f"   {movement.status.value}: {count(totals.upserts, 'upsert')}, {count(totals.deletes, 'delete')}, "
        f"{count(totals.binaries_stored, 'new Binary File')}, in {duration(totals.seconds)}"
    )


def _facts(first: Movement, second: Movement, third: Movement) -> list[tuple[bool, str]]:
    """Return what must hold of the three Movements, and whether it does."""
    one, two, three = first.totals, second.totals, third.totals
    settled_well = all(movement.status == "SUCCESS" for movement in (first, second, third))
    return [
        (settled_well, "all three Movements ended with SUCCESS"),
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
