"""`pipeline token`: makes, lists and revokes tokens for the HTTP API."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import click

from pipeline.assembly.runtime import open_runtime
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, moment, printable
from pipeline.http.tokens import Role, Side, Token, TokenStore
from pipeline.settings import Settings

T = TypeVar("T")


@click.group()
def token() -> None:
    """Make, list and revoke tokens for the HTTP API.

    A viewer reads. An operator also starts, pauses and stops Movements. An admin also makes tokens. The token of an app
    is for one side of one Flow.
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), default="viewer", show_default=True)
@click.option("--flow", default="", metavar="NAME", help="With --role app: the Flow of the app.")
@click.option("--side", type=click.Choice([side.value for side in Side]), help="With --role app: its side of the Flow.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="With --role app: a kind of data that it may reach. Repeatable; default: all.",
)
@click.option("--days", type=float, default=90.0, show_default=True, help="How long it is valid.")
@json_option
@with_settings
def create(
    name: str,
    role: str,
    flow: str,
    side: str | None,
    scopes: tuple[str, ...],
    days: float,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make a token for NAME, and print it. Nothing can show it again."""
    made, text = _with_tokens(
        settings,
        lambda tokens: tokens.create(
            Role(role),
            name,
            by=getpass.getuser(),
            life=timedelta(days=days),
            flow=flow,
            side=Side(side) if side else None,
            scopes=scopes,
        ),
        create_home=True,
    )
    if as_json:
        print_object({**_object(made), "token": text})
    else:
        click.echo(text)


@token.command("list")
@json_option
@with_settings
def list_tokens(as_json: bool, settings: Settings) -> None:
    """List all tokens, the newest first, without their texts."""
    found = _with_tokens(settings, lambda tokens: tokens.list_tokens())
    if as_json:
        for one in found:
            print_object(_object(one))
        return
    rows = [("token", "role", "name", "valid until", "")]
    for one in found:
        state = f"revoked by {one.revoked_by}" if one.revoked else f"{one.flow} {one.side}" if one.side else ""
        rows.append((one.id, one.role.value, printable(one.name), moment(one.expires), printable(state)))
    for line in columns(rows, indent=""):
        click.echo(line)


@token.command()
@click.argument("token_id", metavar="TOKEN")
@json_option
@with_settings
def revoke(token_id: str, as_json: bool, settings: Settings) -> None:
    """Revoke a token, named by its id. It ends at once, on every server."""
    revoked = _with_tokens(settings, lambda tokens: tokens.revoke(token_id, by=getpass.getuser()))
    if as_json:
        print_object(_object(revoked))
    else:
        click.echo(f"The token {revoked.id} of {printable(revoked.name)} is revoked.")


def _with_tokens(settings: Settings, work: Callable[[TokenStore], Awaitable[T]], *, create_home: bool = False) -> T:
    async def run() -> T:
        async with open_runtime(settings, create_home=create_home) as runtime:
            return await work(TokenStore(runtime.store, runtime.flows, runtime.clock))

    return run_async(run)


def _object(one: Token) -> dict[str, object]:
    times = {"created": one.created, "expires": one.expires, "revoked": one.revoked}
    return {
        "id": one.id,
        "role": one.role.value,
        "name": one.name,
        "flow": one.flow,
        "side": one.side.value if one.side else None,
        "scopes": one.scopes,
        "created_by": one.created_by,
        "revoked_by": one.revoked_by,
        **{name: at.isoformat() if at else None for name, at in times.items()},
    }
