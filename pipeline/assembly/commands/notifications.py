"""`pipeline notify`: endpoints of notifications, and what was delivered to them."""

from __future__ import annotations

import fnmatch
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from anyio.to_thread import run_sync

from pipeline.assembly.notifying.senders import open_sender
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.codec.documents.notification import CLOUDEVENTS_TYPE, cloudevent
from pipeline.domain.errors import ConfigurationError, ConflictError, DamagedError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.addresses import is_refused, parse_networks
from pipeline.domain.notifications.delivery import Answer, Deliveries, Position
from pipeline.domain.notifications.endpoint import Endpoint, SigningSecret, ensure_types, rotated
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.notifications.endpoints import EndpointStore, ensure_name
from pipeline.engine.notifications.feed import all_taken, list_events, pending, rewound
from pipeline.engine.outbox.history import History
from pipeline.kit.configuration.secret import Secret
from pipeline.kit.webhooks import signer
from pipeline.ports.sender import Notification
from pipeline.settings import Settings, load_settings

BUCKET = FlowName("")


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint, and what was delivered to it."""

    endpoint: Endpoint
    deliveries: Deliveries


async def add_endpoint(
    wanted: Endpoint, secret: str, *, settings: Settings | None = None
) -> tuple[Endpoint, Sequence[str]]:
    """Add an endpoint, which gets the events from now on; return it, and warnings about its address, secret and Flows.

    One that exists is changed and enabled, and still gets what it has missed. With another secret, both sign for 24 hours.
    `secret` is a reference. ConfigurationError when the URL, the secret or the address may not be used, and when it would
    get no event of any type.
    """
    ensure_name(wanted.name)
    ensure_types(wanted)
    warnings = await _check(wanted, secret)
    async with open_runtime(settings or load_settings(), create_home=True) as runtime:
        endpoints, now = EndpointStore(runtime.store), runtime.clock.now()
        secrets = (SigningSecret(secret),) if secret else ()
        new = replace(wanted, created=now, secrets=secrets)
        nothing = await _nothing_yet(runtime, wanted)
        names = await runtime.flows.list_names()
        missing = [pattern for pattern in wanted.flows if not fnmatch.filter(names, pattern)]
        warnings += [f"No Flow here matches {pattern!r}. It gets the events of those that will." for pattern in missing]
        try:
            await endpoints.add(new, nothing)
        except ConflictError:
            old = await endpoints.read(wanted.name)
            added = {flow: one for flow, one in nothing.positions.items() if not old.wants_flow(flow)}

            def changed(before: Endpoint) -> Endpoint:
                kept = rotated(before.secrets, secret, now) if secret else before.secrets
                return replace(new, created=before.created, secrets=kept)

            await endpoints.update_deliveries(
                wanted.name, lambda one: _fresh(replace(one, positions={**one.positions, **added}), now)
            )
            return await endpoints.update(wanted.name, changed), warnings
        return new, warnings


async def list_endpoints(*, settings: Settings | None = None) -> Sequence[EndpointStatus]:
    """Return all endpoints, by name."""
    async with open_runtime(settings or load_settings()) as runtime:
        endpoints = EndpointStore(runtime.store)
        found: list[EndpointStatus] = []
        for one in await endpoints.list():
            try:
                found.append(EndpointStatus(one, (await endpoints.deliveries(one.name))[0]))
            except DamagedError as error:
                found.append(EndpointStatus(replace(one, disabled=one.disabled or str(error)), Deliveries()))
        return found


async def count_pending(runtime: Runtime) -> Mapping[str, int]:
    """Return how many events each endpoint has not got yet, by name; of a disabled one, too. One listing for each Flow."""
    endpoints = EndpointStore(runtime.store)
    known = {one.name: (one, (await endpoints.deliveries(one.name))[0]) for one in await endpoints.list()}
    counts = {name: len(deliveries.retries) for name, (_, deliveries) in known.items()}
    for flow in (BUCKET, *(await runtime.flows.list_names() if known else ())):
        wanting = [(one, done.positions.get(flow, Position())) for one, done in known.values() if one.wants_flow(flow)]
        if wanting:
            events = await list_events(runtime.store, flow, min(position.movement for _, position in wanting))
            for one, position in wanting:
                counts[one.name] += sum(1 for _ in pending(events, position, one))
    return counts


async def change_endpoint(name: str, disabled: str, *, settings: Settings | None = None) -> Endpoint:
    """Disable an endpoint, for a reason; with an empty one, enable it: it then gets all that it has missed."""
    async with open_runtime(settings or load_settings()) as runtime:
        endpoints = EndpointStore(runtime.store)
        if not disabled:
            await endpoints.read(name)
            await endpoints.update_deliveries(name, lambda one: _fresh(one, runtime.clock.now()))
        return await endpoints.update(name, lambda one: replace(one, disabled=disabled))


def _fresh(deliveries: Deliveries, now: datetime) -> Deliveries:
    """Return the deliveries of an endpoint that is enabled again: what failed is tried at once."""
    retries = tuple(replace(retry, due=now) for retry in deliveries.retries)
    return replace(deliveries, retries=retries, failures=0, failing_since=None, hold_until=None)


async def remove_endpoint(name: str, *, settings: Settings | None = None) -> None:
    """Remove an endpoint."""
    async with open_runtime(settings or load_settings()) as runtime:
        await EndpointStore(runtime.store).remove(name)


async def send_test(name: str, *, settings: Settings | None = None) -> Answer:
    """Send an event of the type `test` to an endpoint, once, and return what became of it."""
    settings = settings or load_settings()
    async with open_runtime(settings) as runtime, open_sender(settings) as sender:
        endpoint = await EndpointStore(runtime.store).read(name)
        now = runtime.clock.now()
        event = OutboxEvent(EventType.CHECK_FINISHED, BUCKET, 0, now, f"test {now.isoformat()}")
        body = cloudevent(event, include_reasons=False).replace(b".check.finished", b".test")
        return await sender.send(endpoint, Notification(event.id, "app-data-pipeline.test", "", CLOUDEVENTS_TYPE, body))


async def replay(name: str, since: datetime, *, settings: Settings | None = None) -> tuple[Endpoint, int]:
    """Let an endpoint have again what happened since a moment; return it, and the number of events. Their ids stay the same.

    It also gets all that it has missed before that moment. ConfigurationError when the moment is to come.
    """
    if since > (now := datetime.now(UTC)):
        raise ConfigurationError(
            f"{since:%Y-%m-%d %H:%M:%S %Z} is to come; it is {now:%Y-%m-%d %H:%M:%S} UTC now. Give a time that has passed."
        )
    async with open_runtime(settings or load_settings()) as runtime:
        endpoints = EndpointStore(runtime.store)
        endpoint = await endpoints.read(name)
        events: dict[FlowName, Sequence[OutboxEvent]] = {}
        for flow in await runtime.flows.list_flows():
            if endpoint.wants_flow(flow.name):
                events[flow.name] = (await History(runtime.store, flow.name).read(flow.movements)).events
        wanted = frozenset(
            one.key for found in events.values() for one in found if one.time >= since and endpoint.wants_type(one.type)
        )
        await endpoints.update_deliveries(name, lambda one: _replayed(one, events, wanted))
        return endpoint, len(wanted)


def _replayed(
    deliveries: Deliveries, events: Mapping[FlowName, Sequence[OutboxEvent]], wanted: Collection[ObjectKey]
) -> Deliveries:
    """Return the deliveries of an endpoint that gets the wanted events again, and what it has not got yet."""
    known = deliveries.positions
    again = {
        flow: rewound(found, [one.key for one in found if one.key in wanted], known.get(flow, Position()))
        for flow, found in events.items()
    }
    given_up = tuple(key for key in deliveries.given_up if key not in wanted)
    return replace(deliveries, positions={**known, **again}, given_up=given_up)


async def _nothing_yet(runtime: Runtime, endpoint: Endpoint) -> Deliveries:
    """Return the deliveries of an endpoint that gets what happens from now on."""
    positions = {BUCKET: all_taken(await list_events(runtime.store, BUCKET, 1), 1)}
    for name in await runtime.flows.list_names():
        if endpoint.wants_flow(name):
            latest = (await runtime.flows.read_flow(name)).movements
            positions[name] = all_taken(await list_events(runtime.store, name, max(latest - 1, 1)), latest)
    return Deliveries(positions)


async def _check(endpoint: Endpoint, secret: str) -> list[str]:
    """ConfigurationError when an endpoint may not be added; else return warnings, if there are any."""
    networks = parse_networks(endpoint.allow_private)
    if secret:
        Secret(secret)
    if endpoint.url.startswith(("sqs://", "arn:aws:sns:")):
        return []
    try:
        parts = urlsplit(endpoint.url)
    except ValueError as error:
        raise ConfigurationError(f"The endpoint's URL is none: {error}.") from error
    if parts.scheme not in ("https", "http") or not parts.hostname:  # what is no URL may have a password anywhere
        raise ConfigurationError(
            "The URL is no receiver of notifications. Give https://…, sqs://QUEUE or the ARN of an SNS topic."
        )
    if parts.username or parts.password:
        raise ConfigurationError("The URL has a user name or a password in plain. Leave it out: deliveries are signed.")
    if parts.scheme == "http" and not endpoint.allow_http:
        raise ConfigurationError(f"{endpoint.url} is not encrypted. Give an https URL, or add --allow-http.")
    if not secret:
        raise ConfigurationError("A webhook needs a secret that signs it. Give a reference: --secret env:NAME.")
    warnings: list[str] = []
    try:
        text = Secret(secret).reveal()
    except ConfigurationError as error:  # it may be there where the notifier runs
        text, warnings = "", [f"{error} It is read at each delivery, where the notifier runs."]
    if text:
        signer(text)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await run_sync(lambda: socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM))
    except ValueError as error:
        raise ConfigurationError(f"{endpoint.url} is no URL: {error}.") from error
    except OSError:
        return [*warnings, f"{parts.hostname} cannot be resolved here. It is checked at each delivery."]
    refused = [str(address[4][0]) for address in found if is_refused(str(address[4][0]), networks)]
    if refused:
        raise ConfigurationError(
            f"{parts.hostname} is at {refused[0]}, which is not a public address. To allow its network, add "
            "--allow-private CIDR."
        )
    return warnings
