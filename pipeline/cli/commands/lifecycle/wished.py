"""What `pause`, `resume` and `stop` have in common: options, times, and what they print."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from shlex import quote
from typing import TypeVar

import click

from pipeline.assembly.commands.lifecycle.wishes import Wished
from pipeline.cli.output.json_output import movement_object, print_object
from pipeline.cli.output.text import group_wish_lines, printable

Command = TypeVar("Command", bound=Callable[..., object])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LENGTH = re.compile(r"\+?(\d{1,6})\s*([smhd])")
_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def until_option(command: Command) -> Command:
    """Add --until."""
    return click.option(
        "--until",
        metavar="TIME",
        callback=_read_moment,
        help="Resume by itself then: 2026-12-01T06:00 (local, or with a zone), the next 06:00, or after 8h.",
    )(command)


def _read_moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | timedelta | None:
    if text is None:
        return None
    text = text.strip()
    if length := _LENGTH.fullmatch(text):
        return timedelta(seconds=int(length[1]) * _UNITS[length[2]])
    try:
        now = datetime.now(UTC)
        return next_of_day(text, now) if _OF_DAY.fullmatch(text) else _next([datetime.fromisoformat(text)], now)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{printable(text)!r} is no time. Write 2026-12-01T06:00, 06:00, or a length such as 8h."
        ) from None


def next_of_day(text: str, now: datetime) -> datetime:
    """Return the next local time of day, such as 6:00, after `now`."""
    of_day, today = time.fromisoformat(text.zfill(5)), now.astimezone().date()
    return _next([datetime.combine(today + timedelta(days), of_day) for days in (0, 1)], now)


def _next(moments: Sequence[datetime], now: datetime) -> datetime:
    """Return the first of these times after `now`, in UTC; the last one when all have passed.

    One without a zone is local. One that comes twice, because the clocks are set back, counts as two.
    """
    found = sorted(_utc(moment.replace(fold=fold)) for moment in moments for fold in (0, 1))
    return next((one for one in found if one > now), found[-1])


def _utc(moment: datetime) -> datetime:
    """Return a time in UTC; one without a zone is local. One that the clocks leave out is as long after midnight as it says."""
    found = moment.astimezone(UTC)
    if moment.tzinfo is None and found.astimezone().replace(tzinfo=None) != moment:
        found = moment.replace(fold=1).astimezone(UTC)
    return found


def group_option(command: Command) -> Command:
    """Add --group."""
    return click.option(
        "--group",
        "groups",
        multiple=True,
        metavar="GROUP",
        help="Only this File Group of the Movement. May be given repeatedly.",
    )(command)


def reason_option(command: Command) -> Command:
    """Add --reason."""
    return click.option("--reason", default="", metavar="TEXT", help="Why, for those who look at the Movement.")(
        command
    )


def print_wished(wished: Wished, *, as_json: bool) -> None:
    """Print the Movement, its status and what it means."""
    movement, state = wished.movement, wished.state
    if as_json:
        told = {"unqueued": wished.unqueued, "unfenced": wished.unfenced}
        print_object(movement_object(movement, state) | {name: value for name, value in told.items() if value})
        return
    if wished.unqueued:
        click.echo("The queued start is taken back.")
    click.echo(f"Movement {movement.number} of Flow {printable(movement.flow)} is {state.status}.")
    click.echo(f"  {printable(state.sentence)}")
    if wished.unfenced:
        click.echo(
            f"  It could not be fenced: {printable(wished.unfenced)}. Workers, or another "
            f"`pipeline stop {quote(printable(movement.flow))}`, try again."
        )
    for line in group_wish_lines(movement):
        click.echo(f"  {line}")
