"""`pipeline flow apply`, `set`, `show`, `list` and `remove`: Flows as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from pipeline.assembly.commands.declared.apply import apply_flows, list_flows, read_declared, set_flow
from pipeline.assembly.commands.declared.changes import FlowChange
from pipeline.assembly.commands.declared.remove import Removal, remove_flow
from pipeline.assembly.commands.declared.table import flow_table, toml_lines
from pipeline.cli import exit_codes
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, count, printable, size
from pipeline.settings import Settings

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(short_help="Make Flows as FILE declares them.")
@click.argument("file", type=click.Path(path_type=Path))
@yes_option
@json_option
@with_settings
def apply(file: Path, yes: bool, as_json: bool, settings: Settings) -> int:
    """Make the Flows of FILE as it declares them: create those that are new, change those that differ.

    FILE is TOML, with a table [flow.NAME] for each Flow. Shows what would change, and asks. Applying it again changes
    nothing. Flows that FILE does not name stay as they are.

    Exit code: 0 the Flows are as declared; 1 they are not, because you did not agree; 2 something in FILE is wrong.
    """
    asked = _Asked(yes=yes, as_json=as_json)
    changes = run_async(lambda: apply_flows(file, asked.confirm, settings=settings))
    return asked.end(changes)


@click.command("set", short_help="Change values of FLOW.")
@click.argument("flow")
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE…")
@yes_option
@json_option
@with_settings
def set_(flow: str, values: tuple[str, ...], yes: bool, as_json: bool, settings: Settings) -> int:
    """Change values of FLOW, named as in a file of Flows: windows.life_days=7, or 'stream."log*".include=false'.

    An empty value removes what is declared. Shows what would change, and asks. Exit code: as of `pipeline flow apply`.
    """
    asked = _Asked(yes=yes, as_json=as_json)
    change = run_async(lambda: set_flow(flow, values, asked.confirm, settings=settings))
    return asked.end([change])


@click.command(short_help="Print FLOW as a file of Flows declares it.")
@click.argument("flow")
@json_option
@with_settings
def show(flow: str, as_json: bool, settings: Settings) -> None:
    """Print FLOW as a table that `pipeline flow apply` reads. What is as the defaults are is left out."""
    found = run_async(lambda: read_declared(flow, settings=settings))
    table = flow_table(found)
    if as_json:
        about = {"created": found.created.isoformat(), "movements": found.movements, "shares": found.origin}
        print_object({"flow": found.name, **about, "declared": table})
    else:
        click.echo("\n".join(map(printable, toml_lines(found.name, table))))


@click.command("list", short_help="List all Flows.")
@json_option
@with_settings
def list_(as_json: bool, settings: Settings) -> None:
    """List all Flows, with their places and their latest Movements."""
    listed = run_async(lambda: list_flows(settings=settings))
    rows: list[tuple[str, ...]] = [("flow", "movement", "status", "source", "destination")]
    for one in listed:
        number, status = (one.latest.number, one.latest.status.value) if one.latest else (0, None)
        if as_json:
            places = {"source": one.flow.source, "destination": one.flow.destination, "shares": one.flow.origin}
            print_object({"flow": one.flow.name, **places, "movement": number or None, "status": status})
        names = map(printable, (one.flow.source, one.flow.destination))
        rows.append((printable(one.flow.name), str(number or "–"), status or "not moved yet", *names))
    if not as_json:
        click.echo("\n".join(columns(rows, indent="")) if listed else "There is no Flow yet.")


@click.command(short_help="Delete all that is stored of FLOW.")
@click.argument("flow")
@yes_option
@json_option
@with_settings
def remove(flow: str, yes: bool, as_json: bool, settings: Settings) -> int:
    """Delete all that is stored of FLOW. What it has loaded into the destination stays there, and so do its marks.

    Says what is deleted and what stays, and asks. Not possible while a Movement has not settled, or while a derived Flow
    imports what FLOW has stored.

    Exit code: 0 it is removed; 1 it is not, because you did not agree; 2 it cannot be removed.
    """

    def confirm(removal: Removal) -> bool:
        if not as_json:
            click.echo("\n".join(_removal_lines(removal)))
        return yes or (not as_json and agrees("Remove it?"))

    removal = run_async(lambda: remove_flow(flow, confirm, settings=settings))
    if as_json:
        print_object(_removal_object(removal))
    else:
        name = printable(removal.flow.name)
        click.echo(f"Flow {name} is removed." if removal.removed else f"Nothing was removed of Flow {name}.")
    return exit_codes.SUCCESS if removal.removed else exit_codes.NOT_DONE


class _Asked:
    """Shows changes, asks for them unless `yes`, and prints what came of it."""

    def __init__(self, *, yes: bool, as_json: bool) -> None:
        self._yes, self._as_json = yes, as_json
        self._applied = True

    def confirm(self, changes: Sequence[FlowChange]) -> bool:
        if not self._as_json:
            click.echo("\n".join(line for change in changes for line in _change_lines(change)))
        self._applied = self._yes or (not self._as_json and agrees("Apply these changes?"))
        return self._applied

    def end(self, changes: Sequence[FlowChange]) -> int:
        changed = [change for change in changes if change.kind != "none"]
        if self._as_json:
            print_object({"applied": self._applied, "flows": list(map(_change_object, changes))})
        elif not changed:
            click.echo(
                "Nothing to change: " + ("the Flow is" if len(changes) == 1 else "all Flows are") + " as declared."
            )
        else:
            click.echo("The changes are applied." if self._applied else "Nothing was changed. To apply it, add --yes.")
        if not self._as_json:
            for change in changes:
                if change.unchecked:
                    why = printable(change.unchecked)
                    click.echo(f"Streams of Flow {printable(change.flow.name)} were not checked: {why}", err=True)
        return exit_codes.SUCCESS if self._applied else exit_codes.NOT_DONE


def agrees(question: str) -> bool:
    """Ask a person; return whether they agree. Without anybody to ask, they do not."""
    try:
        return click.confirm(question)
    except click.Abort:  # there is nobody to ask
        click.echo()
        return False


_WORDS = {"create": "is created", "change": "changes", "none": "stays as it is"}


def _change_lines(change: FlowChange) -> Iterator[str]:
    yield f"Flow {printable(change.flow.name)} {_WORDS[change.kind]}"
    for one in change.differences:
        before = "" if change.is_new or one.before is None else f"{_shown(one.before)} → "
        yield printable(f"  {one.name}: {before}{'the default' if one.after is None else _shown(one.after)}")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _change_object(change: FlowChange) -> dict[str, object]:
    differences = [{"name": one.name, "before": one.before, "after": one.after} for one in change.differences]
    return {
        "flow": change.flow.name,
        "action": change.kind,
        "changes": differences,
        "unchecked": change.unchecked or None,
    }


def _removal_lines(removal: Removal) -> Iterator[str]:
    flow = removal.flow
    objects = sum(one.objects for one in removal.stored.values())
    stored = sum(one.stored_bytes for one in removal.stored.values())
    yield f"Flow {printable(flow.name)} connects {printable(flow.source)} to {printable(flow.destination)}."
    yield f"Deleted from the store: {count(objects, 'object')} of {size(stored)}."
    if "imports" in removal.stored:
        yield "Among them are the marks and the id map of the app: a new Flow to it creates all objects once more."
    yield "Left at the destination:"
    if removal.streams is None:
        yield f"  unknown, since it did not answer: {printable(removal.unknown_because)}"
    elif not removal.streams:
        yield "  nothing: no Event File is marked as imported there"
    else:
        files = sum(removal.streams.values())
        yield f"  the rows and files of {count(len(removal.streams), 'stream')}, and {count(files, 'mark')}"
        yield from (f"  {printable(name)}" for name in sorted(removal.streams)[:20])
        if len(removal.streams) > 20:
            yield f"  … and {len(removal.streams) - 20:,} more"


def _removal_object(removal: Removal) -> dict[str, object]:
    stored = {kind: {"objects": one.objects, "bytes": one.stored_bytes} for kind, one in sorted(removal.stored.items())}
    return {
        "flow": removal.flow.name,
        "removed": removal.removed,
        "deleted_from_store": stored,
        "left_at_destination": {
            "destination": removal.flow.destination,
            "streams": None if removal.streams is None else sorted(removal.streams),
            "marks": None if removal.streams is None else sum(removal.streams.values()),
            "unknown_because": removal.unknown_because or None,
        },
    }
