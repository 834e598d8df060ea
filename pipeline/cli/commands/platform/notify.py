"""`pipeline notify`: receivers of events."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pipeline.assembly.commands import notifications
from pipeline.assembly.commands.notifications import EndpointStatus
from pipeline.cli import exit_codes
from pipeline.cli.options import json_option, run_async, with_settings
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import columns, count, moment, printable
from pipeline.cli.signals import run_interruptible
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.notifications.delivery import Delivered
from pipeline.domain.notifications.endpoint import PROFILES, Endpoint, Form
from pipeline.settings import Settings


@click.group()
def notify() -> None:
    """Add receivers of events, and see what they have got.

    `pipeline worker notify`, and any `pipeline worker all`, delivers. docs/how-to/notifications.md shows a receiver.
    """


@notify.command()
@click.argument("name")
@click.argument("url")
@click.option("--secret", default="", metavar="REF", help="The secret that signs: env:NAME or file:PATH.")
@click.option("--flow", "flows", multiple=True, metavar="PATTERN", help="Of these Flows only. May be given repeatedly.")
@click.option("--type", "types", multiple=True, metavar="PATTERN", help="Of these types only. May be given repeatedly.")
@click.option(
    "--profile", type=click.Choice(sorted(PROFILES)), default="standard", show_default=True, help="How often."
)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Form]),
    default=Form.CLOUDEVENTS.value,
    show_default=True,
    help="The form of the body.",
)
@click.option(
    "--include", type=click.Choice(["reasons"]), multiple=True, help="Include texts that may quote values of the app."
)
@click.option("--allow-private", multiple=True, metavar="CIDR", help="Let its address be in this private network.")
@click.option("--allow-http", is_flag=True, help="Let the URL be http, without encryption.")
@json_option
@with_settings
def add(
    name: str,
    url: str,
    secret: str,
    flows: tuple[str, ...],
    types: tuple[str, ...],
    profile: str,
    form: str,
    include: tuple[str, ...],
    allow_private: tuple[str, ...],
    allow_http: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Add the endpoint NAME, which gets the events from now on; or change it.

    URL is https://…, sqs://QUEUE, or the ARN of an SNS topic. With another --secret than before, both sign for 24 hours.
    """
    wanted = Endpoint(
        name,
        url,
        datetime.now(UTC),
        flows=flows,
        types=types,
        profile=profile,
        form=Form(form),
        include_reasons="reasons" in include,
        allow_private=allow_private,
        allow_http=allow_http,
    )
    added, warnings = run_async(lambda: notifications.add_endpoint(wanted, secret, settings=settings))
    for warning in warnings:
        click.echo(f"pipeline: {printable(warning)}", err=True)
    if as_json:
        print_object(endpoint_object(added))
    else:
        click.echo(f"{name} gets events at {printable(url)}. `pipeline notify test {name}` sends one.")


@notify.command("list")
@json_option
@with_settings
def list_(as_json: bool, settings: Settings) -> None:
    """List all endpoints, what they have got, and what they have not."""
    found = run_async(lambda: notifications.list_endpoints(settings=settings))
    if as_json:
        print_object({"endpoints": [endpoint_object(one.endpoint) | _deliveries_object(one) for one in found]})
    elif not found:
        click.echo("There is no endpoint. `pipeline notify add NAME URL` adds one.")
    else:
        rows = [("endpoint", "url", "delivered", "last", "failing", "state")]
        click.echo("\n".join(columns([*rows, *map(_row, found)], indent="")))


def _row(one: EndpointStatus) -> tuple[str, ...]:
    deliveries = one.deliveries
    last = moment(deliveries.last_delivery) if deliveries.last_delivery else "never"
    state = f"disabled: {one.endpoint.disabled}" if one.endpoint.disabled else deliveries.last_failure or "fine"
    failing = f"{len(deliveries.retries) + len(deliveries.given_up):,}"
    return one.endpoint.name, printable(one.endpoint.url), f"{deliveries.delivered:,}", last, failing, printable(state)


@notify.command()
@click.argument("name")
@json_option
@with_settings
def test(name: str, as_json: bool, settings: Settings) -> int:
    """Send one event of the type `test` to the endpoint NAME now. Exit code: 1 if it was not taken."""
    answer = run_async(lambda: notifications.send_test(name, settings=settings))
    reason = "" if isinstance(answer, Delivered) else answer.reason
    if as_json:
        print_object({"endpoint": name, "delivered": not reason, "reason": reason})
    else:
        click.echo(
            f"{name} has not taken the event: {printable(reason)}." if reason else f"{name} has taken the event."
        )
    return exit_codes.NOT_DONE if reason else exit_codes.SUCCESS


@notify.command()
@click.argument("name")
@click.option("--reason", default="a person has disabled it", show_default=True, metavar="TEXT", help="Shown in lists.")
@json_option
@with_settings
def disable(name: str, reason: str, as_json: bool, settings: Settings) -> None:
    """Send nothing more to the endpoint NAME. `pipeline notify enable` undoes it, and nothing is lost."""
    why = reason or "a person has disabled it"
    changed = run_async(lambda: notifications.change_endpoint(name, why, settings=settings))
    _print_changed(endpoint_object(changed), f"{name} is disabled.", as_json=as_json)


@notify.command()
@click.argument("name")
@json_option
@with_settings
def enable(name: str, as_json: bool, settings: Settings) -> None:
    """Send to the endpoint NAME again, first what it has missed."""
    changed = run_async(lambda: notifications.change_endpoint(name, "", settings=settings))
    _print_changed(endpoint_object(changed), f"{name} is enabled.", as_json=as_json)


@notify.command()
@click.argument("name")
@json_option
@with_settings
def remove(name: str, as_json: bool, settings: Settings) -> None:
    """Remove the endpoint NAME."""
    run_async(lambda: notifications.remove_endpoint(name, settings=settings))
    _print_changed({"name": name, "removed": True}, f"{name} is removed.", as_json=as_json)


def _print_changed(changed: dict[str, object], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_object(changed)
    else:
        click.echo(sentence)


@notify.command()
@click.argument("name")
@click.option("--since", required=True, metavar="TIME", help="Such as 2026-11-29T08:00Z.")
@json_option
@with_settings
def replay(name: str, since: str, as_json: bool, settings: Settings) -> None:
    """Let the endpoint NAME have again what has happened since a time. Ids stay the same, so it can tell."""
    begin = _moment(since)
    endpoint, events = run_async(lambda: notifications.replay(name, begin, settings=settings))
    if as_json:
        print_object({"endpoint": name, "events": events})
        return
    once = f" once it is enabled: `pipeline notify enable {name}`" if endpoint.disabled else ""
    click.echo(f"{name} gets {count(events, 'event')} again{once}.")


@notify.command()
@click.option("--secret", required=True, metavar="REF", help="The secret that verifies: env:NAME or file:PATH.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port.")
@click.option("--count", "most", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole events, one a line.")
def listen(secret: str, host: str, port: int, most: int | None, as_json: bool) -> None:
    """Receive events on this computer, verify and print them, until stopped: to try it without a receiver of your own."""
    try:
        from pipeline.cli.commands.platform.listener import Listener
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This command needs {error.name}. Install it with: pip install 'app-data-pipeline[notify]'"
        ) from error
    listener = Listener(secret, as_json=as_json)
    run_interruptible(lambda: listener.run(host, port, most), stopping="Stopping.")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time. Write one such as 2026-11-29T08:00Z.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def endpoint_object(endpoint: Endpoint) -> dict[str, object]:
    """Return an endpoint as JSON. Secrets are shown as references only."""
    return {
        "name": endpoint.name,
        "url": endpoint.url,
        "created": endpoint.created.isoformat(),
        "secrets": [
            {"reference": one.reference, "until": one.until.isoformat() if one.until else None}
            for one in endpoint.secrets
        ],
        "flows": list(endpoint.flows),
        "types": list(endpoint.types),
        "profile": endpoint.profile,
        "format": endpoint.form.value,
        "include": ["reasons"] if endpoint.include_reasons else [],
        "allow_private": list(endpoint.allow_private),
        "allow_http": endpoint.allow_http,
        "disabled": endpoint.disabled or None,
    }


def _deliveries_object(one: EndpointStatus) -> dict[str, object]:
    deliveries = one.deliveries
    return {
        "delivered": deliveries.delivered,
        "last_delivery": deliveries.last_delivery.isoformat() if deliveries.last_delivery else None,
        "failing_since": deliveries.failing_since.isoformat() if deliveries.failing_since else None,
        "last_failure": deliveries.last_failure or None,
        "retries": [
            {"key": retry.key, "tries": retry.tries, "next": retry.due.isoformat(), "reason": retry.reason}
            for retry in deliveries.retries
        ],
        "given_up": list(deliveries.given_up),
    }
