"""`pipeline approve`: shows what is to be approved of a Flow, and records who approves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from pipeline.assembly.commands.declared.approve import Asked
from pipeline.assembly.commands.declared.approve import approve as approve_flow
from pipeline.cli import exit_codes
from pipeline.cli.commands.flows.declared import agrees, yes_option
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import moment, printable
from pipeline.domain.flows.approvals import Approval
from pipeline.domain.flows.declaration import Side
from pipeline.settings import Settings


def side_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add --side and --by."""
    side = click.option(
        "--side",
        type=click.Choice([side.value for side in Side]),
        required=True,
        help="The side that the person is of.",
    )
    return side(click.option("--by", required=True, metavar="NAME", help="Who does it. Kept with the Flow.")(command))


@click.command()
@click.argument("flow")
@side_options
@yes_option
@json_option
@with_settings
def approve(flow: str, side: str, by: str, yes: bool, as_json: bool, settings: Settings) -> int:
    """Show what is to be approved of FLOW, and record who approves it, and when.

    That is the text that the Flow declares, with its links, the kinds of data of its streams, and the contract of its
    source. When one of these changes, it must be approved again.

    Exit code: 0 it is approved; 1 it is not, because you did not agree; 2 wrong usage.
    """

    def confirm(asked: Asked) -> bool:
        if not as_json:
            click.echo("\n".join(map(printable, _terms_lines(asked, side))))
        return yes or (not as_json and agrees(f"Approve it as {by}?"))

    recorded = run_async(lambda: approve_flow(flow, Side(side), by, confirm, settings=settings))
    if as_json:
        print_object(
            {"flow": flow, "approved": recorded is not None, **(approval_object(recorded) if recorded else {})}
        )
    elif recorded is None:
        click.echo("Nothing was approved.")
    else:
        click.echo(f"Approved by {printable(recorded.by)} at {moment(recorded.at)}.")
    return exit_codes.NOT_DONE if recorded is None else exit_codes.SUCCESS


def _terms_lines(asked: Asked, side: str) -> Iterator[str]:
    terms, approvals = asked.terms, asked.flow.declared.approvals
    yield f"Flow {asked.flow.name} moves data from {asked.flow.source} to {asked.flow.destination}."
    yield f"To be approved from the {side}'s side:"
    yield from (f"  {line}" for line in (approvals.text or "(the Flow declares no text)").splitlines())
    yield from (f"  {link}" for link in approvals.links)
    yield f"Kinds of data: {', '.join(terms.scopes) or 'none are declared'}"
    yield from (f"  {stream}: {', '.join(scopes)}" for stream, scopes in sorted(asked.scopes.items()))
    yield f"Contract: {terms.contract or 'none'}"
    yield f"SHA-256 of text and links: {terms.text_sha256}"


def approval_object(approval: Approval) -> dict[str, object]:
    """Return a record for a program."""
    return {
        "number": approval.number,
        "side": approval.side.value,
        "act": approval.act.value,
        "by": approval.by,
        "at": approval.at.isoformat(),
        "text_sha256": approval.text_sha256,
        "scopes": approval.scopes,
        "contract": approval.contract or None,
        "reason": approval.reason or None,
    }
