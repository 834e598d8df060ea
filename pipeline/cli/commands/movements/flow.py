"""`pipeline flow`: connect two places, add destinations to what a Flow has stored, and bring it there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, existing_home, json_option, prepare, run_async

if TYPE_CHECKING:
    from pipeline.domain.movement import Flow


@click.group(short_help="Connect places, and add destinations to a Flow.")
def flow() -> None:
    """Connect places, and add destinations to a Flow."""


@flow.command(short_help="Connect SOURCE to DESTINATION under a name.")
@click.argument("name")
@click.argument("source")
@click.argument("destination")
@click.option("--files", nargs=2, metavar="SRC_DIR DST_DIR", help="A directory tree that goes along with a database.")
@json_option
@common_options
def create(
    name: str,
    source: str,
    destination: str,
    files: tuple[str, str] | None,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> None:
    """Connect SOURCE to DESTINATION as the Flow NAME, and move nothing yet.

    `pipeline start NAME` or `pipeline move SOURCE DESTINATION --flow NAME` moves it. Creating it again does no harm.
    """
    settings = prepare(home, config)
    from pipeline.assembly.commands.flows import create_flow

    _tell(run_async(lambda: create_flow(name, source, destination, files or None, settings)), as_json=as_json)


@flow.command("add-destination", short_help="Bring what FLOW has stored to a further destination.")
@click.argument("flow_name", metavar="FLOW")
@click.argument("destination")
@click.option("--name", metavar="NAME", help="The name of the new Flow [default: made from the two places].")
@click.option("--files", metavar="DST_DIR", help="Where the files go that FLOW moves along with a database.")
@json_option
@common_options
def add_destination(
    flow_name: str,
    destination: str,
    name: str | None,
    files: str | None,
    as_json: bool,
    home: Path | None,
    config: Path | None,
    debug: bool,
) -> None:
    """Add a further DESTINATION for what FLOW exports: a Flow of its own that shares what FLOW has stored.

    Nothing is exported again for it. `pipeline flow import NAME` brings it up to date, and so do `pipeline move` of FLOW
    and running workers.
    """
    settings = prepare(home, config)
    existing_home(settings)
    from pipeline.assembly.commands.flows import add_flow_destination

    added = run_async(lambda: add_flow_destination(flow_name, destination, files, name, settings))
    _tell(added, as_json=as_json)


@flow.command("import", short_help="Bring a further destination up to date.")
@click.argument("name")
@json_option
@common_options
def import_(name: str, as_json: bool, home: Path | None, config: Path | None, debug: bool) -> int:
    """Import what has been stored since into the destination of the Flow NAME. The source is not looked at.

    Exit code: as of `pipeline move`.
    """
    settings = prepare(home, config)
    existing_home(settings)
    from pipeline.cli.commands.movements.derived_import import import_and_tell

    return import_and_tell(name, settings, as_json=as_json)


def _tell(flow: Flow, *, as_json: bool) -> int:
    if as_json:
        from pipeline.cli.output.json_output import print_object

        print_object({"flow": flow.name, "source": flow.source, "destination": flow.destination, "shares": flow.origin})
    else:
        from pipeline.cli.output.text import printable

        how = f", with what Flow {printable(flow.origin)} has stored" if flow.origin is not None else ""
        click.echo(f"Flow {printable(flow.name)} connects {flow.source} to {flow.destination}{how}.")
    return exit_codes.SUCCESS
