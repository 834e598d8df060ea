"""`pipeline new`: makes the project of an author."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.new_project.project import KINDS, make_project
from pipeline.cli.options import json_option, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.settings import Settings


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@json_option
@with_settings
def new(kind: str, name: str, as_json: bool, settings: Settings) -> None:
    """Make a project with an Exporter, an Importer, or both (app), in the new directory NAME.

    It has a small app to replace by yours, tests, and what a person and a coding agent need to know. Its tests pass.
    Nothing that exists is overwritten.
    """
    files = [str(path.relative_to(Path.cwd())) for path in make_project(kind, name, Path.cwd())]
    if as_json:
        print_object({"directory": name, "files": files})
        return
    click.echo("\n".join([*files, "", f"Now: cd {name}, and read README.md."]))
