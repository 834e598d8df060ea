"""`pipeline apps`: lists the Exporters and Importers that are found by name."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline.assembly.commands.apps import App
from pipeline.assembly.commands.apps import apps as all_apps
from pipeline.cli import exit_codes
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import printable
from pipeline.settings import Settings


@click.command()
@json_option
@with_settings
def apps(as_json: bool, settings: Settings) -> int:
    """List the Exporters and Importers that are installed or in the setting `plugins`: versions, contracts, streams.

    Exit code: 0 all of them can be loaded; 1 one cannot.
    """
    found = all_apps(settings)
    for app in found:
        if as_json:
            print_object(asdict(app))
        else:
            click.echo("\n".join(map(printable, _lines(app))))
    if not found and not as_json:
        click.echo(
            "No Exporter or Importer is installed, or in the setting plugins. A file needs neither: pipeline move ./file.py:name …"
        )
    return exit_codes.NOT_DONE if any(app.error for app in found) else exit_codes.SUCCESS


def _lines(app: App) -> list[str]:
    contracts = f", {' or '.join(app.contracts)}" if app.contracts else ""
    name = " ".join(filter(None, (app.role, app.name, app.version)))
    lines = [name + contracts]
    if app.error:
        return [*lines, f"  cannot be used: {app.error}"]
    return [*lines, *(f"  {stream}: {how}" for stream, how in app.streams.items())]
