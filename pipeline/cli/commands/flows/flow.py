"""`pipeline flow`: creates and declares Flows, adds destinations to them, and imports into those."""

from __future__ import annotations

import click

from pipeline.assembly.commands.flows import add_flow_destination, create_flow
from pipeline.cli.commands.flows.declared import apply, list_, remove, set_, show
from pipeline.cli.commands.movements.watched import import_derived_flow
from pipeline.cli.options import (
    destination_settings_options,
    json_option,
    overwrite_option,
    plugin_settings_options,
    run_async,
    with_settings,
)
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import printable
from pipeline.domain.movement import Flow
from pipeline.settings import Settings


@click.group()
def flow() -> None:
    """Create, declare, show and remove Flows, and add destinations to them."""


@flow.command(short_help="Create the Flow NAME from SOURCE to DESTINATION.")
@click.argument("name")
@click.argument("source")
@click.argument("destination")
@click.option("--files", nargs=2, metavar="SRC_DIR DST_DIR", help="A directory tree that is moved with a database.")
@plugin_settings_options
@json_option
@with_settings
def create(
    name: str,
    source: str,
    destination: str,
    files: tuple[str, str] | None,
    source_settings: dict[str, str],
    destination_settings: dict[str, str],
    as_json: bool,
    settings: Settings,
) -> None:
    """Create the Flow NAME from SOURCE to DESTINATION. Nothing is moved yet.

    SOURCE and DESTINATION are as of `pipeline move`. `pipeline start NAME` or `pipeline move SOURCE DESTINATION --flow
    NAME` moves it. Creating the same Flow again changes nothing.
    """
    created = run_async(
        lambda: create_flow(
            name,
            source,
            destination,
            files=files or None,
            source_settings=source_settings,
            destination_settings=destination_settings,
            settings=settings,
        )
    )
    _print_flow(created, as_json=as_json)


@flow.command("add-destination", short_help="Add a further destination for what FLOW has stored.")
@click.argument("flow_name", metavar="FLOW")
@click.argument("destination")
@click.option("--name", metavar="NAME", help="The name of the new Flow [default: made from the two places].")
@click.option("--files", metavar="DST_DIR", help="The directory for the files that FLOW moves with a database.")
@destination_settings_options
@json_option
@with_settings
def add_destination(
    flow_name: str,
    destination: str,
    name: str | None,
    files: str | None,
    destination_settings: dict[str, str],
    as_json: bool,
    settings: Settings,
) -> None:
    """Add a further DESTINATION for what FLOW exports, as a derived Flow that imports what FLOW has stored.

    Nothing is exported again. `pipeline flow import NAME` brings it up to date; `pipeline move` of FLOW and running
    workers do, too.
    """
    added = run_async(
        lambda: add_flow_destination(
            flow_name,
            destination,
            name=name,
            files=files,
            destination_settings=destination_settings,
            settings=settings,
        )
    )
    _print_flow(added, as_json=as_json)


@flow.command("import", short_help="Bring the destination of a derived Flow up to date.")
@click.argument("name")
@overwrite_option
@json_option
@with_settings
def import_(name: str, overwrite: bool, as_json: bool, settings: Settings) -> int:
    """Import into the destination of the derived Flow NAME what has been stored since. The source is not read.

    Exit code: as of `pipeline move`.
    """
    return import_derived_flow(name, settings, overwrite=overwrite, as_json=as_json)


def _print_flow(flow: Flow, *, as_json: bool) -> None:
    if as_json:
        print_object({"flow": flow.name, "source": flow.source, "destination": flow.destination, "shares": flow.origin})
        return
    how = "" if flow.origin is None else f", with what Flow {printable(flow.origin)} has stored"
    click.echo(f"Flow {printable(flow.name)} connects {printable(flow.source)} to {printable(flow.destination)}{how}.")


for command in (apply, list_, show, set_, remove):
    flow.add_command(command)
