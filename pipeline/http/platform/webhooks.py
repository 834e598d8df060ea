"""The platform's events, posted to the endpoints that an app has named, until each is answered with 2xx.

App data is announced when it may be imported: when all that comes before it is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import anyio
import msgspec
import orjson

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError, PipelineError
from pipeline.domain.ids import FlowName, StreamName, decode_name
from pipeline.domain.notifications.addresses import is_refused, parse_networks
from pipeline.domain.notifications.delivery import Delivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.domain.object_keys import PLATFORM_APPS, platform_app_key
from pipeline.http.apps.reach import Reach
from pipeline.http.platform.transfers import Transfer, file_key, message_id, transfer_id, transfer_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import PlatformProfile, Site
from pipeline.http.tokens import Identity
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition, Version, list_pages
from pipeline.ports.sender import Notification, Sender

if TYPE_CHECKING:
    from pipeline.http.platform.signing import EventSigner

POLL_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
OWN_MACHINE = ("127.0.0.0/8", "::1/128")
"""Beside public addresses, events go to this machine alone."""
_BEGUN = datetime.fromtimestamp(0, UTC)


class _Limited(msgspec.Struct):
    """The endpoints that tokens with these scopes have named. They get only events of data that these tokens reach."""

    scopes: list[str]
    endpoints: list[str]


class _Document(msgspec.Struct):
    """The endpoints of a Flow's app, and the messages of one Movement that each of them has got.

    `endpoints` are those that tokens without scopes have named: they get all events.
    """

    endpoints: list[str] = []
    movement: int = 0
    got: dict[str, list[str]] = {}
    limited: list[_Limited] = []

    def named_with(self, scopes: Sequence[str]) -> list[str]:
        """Return the endpoints that tokens with these scopes have named."""
        if not scopes:
            return self.endpoints
        return next((one.endpoints for one in self.limited if set(one.scopes) == set(scopes)), [])

    def naming(self, scopes: Sequence[str], endpoints: Sequence[str]) -> _Document:
        """Return the document with these endpoints in place of those that tokens with these scopes have named."""
        if not scopes:
            return msgspec.structs.replace(self, endpoints=list(endpoints))
        limited = [one for one in self.limited if set(one.scopes) != set(scopes)]
        if endpoints:
            limited.append(_Limited(sorted(scopes), list(endpoints)))
        return msgspec.structs.replace(self, limited=limited)

    def scopes_by_url(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Return all endpoints, each with the scopes with which it was named; empty scopes reach everything."""
        found: dict[str, list[Sequence[str]]] = {url: [()] for url in self.endpoints}
        for one in self.limited:
            for url in one.endpoints:
                found.setdefault(url, []).append(one.scopes)
        return found


class Webhooks:
    """The endpoints of apps, in the bucket."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def endpoints(self, flow: FlowName, who: Identity) -> Sequence[str]:
        """Return the endpoints of a Flow's app that tokens with the scopes of this one have named."""
        return (await self._read(flow))[0].named_with(who.scopes)

    async def put(self, flow: FlowName, who: Identity, endpoints: Sequence[str]) -> None:
        """Replace these endpoints. ProblemError when one is no URL to which events may go."""
        for url in endpoints:
            if (fault := _fault(url)) is not None:
                raise ProblemError(HTTPStatus.BAD_REQUEST, f"{url[:200]!r} cannot get events: {fault}.")
        document, version = await self._read(flow)
        await self._write(flow, document.naming(who.scopes, endpoints), version)

    async def flows(self) -> Sequence[FlowName]:
        """Return the Flows whose apps have named endpoints."""
        found = [info.key async for page in list_pages(self._site.runtime.store, PLATFORM_APPS) for info in page]
        return [FlowName(decode_name(key.removeprefix(PLATFORM_APPS).removesuffix(".json"))) for key in found]

    async def send_due(self, flow: FlowName, sender: Sender, resting: Collection[str] = ()) -> Mapping[str, str]:
        """Send what the endpoints of a Flow have not got yet, but nothing to those that are `resting`.

        Each gets the events in their order. Return which of them do not take one, and why.
        """
        document, version = await self._read(flow)
        scopes, refused = document.scopes_by_url(), dict[str, str]()
        waiting = set(scopes) - set(resting)
        if not waiting:
            return refused
        transfer, signer = await transfer_of(self._site, flow), await self._signer()
        number = transfer.importing.movement.number
        before = document.got if document.movement == number else {}
        got = {url: set(before.get(url, ())) for url in scopes}
        async for event, stream in self._events(transfer):
            id_, taken = str(event["messageId"]), False
            for url in sorted(waiting):
                if id_ in got[url] or not (stream is None or _reaches(transfer, scopes[url], stream)):
                    continue
                signed = signer.headers(url, event, self._site.clock.now()) if signer else {}
                if reason := await _send(url, event, signed, sender):
                    refused[url] = reason
                    waiting.remove(url)
                else:
                    got[url].add(id_)
                    taken = True
            if taken:
                known = {url: sorted(ids) for url, ids in got.items()}
                now = msgspec.structs.replace(document, movement=number, got=known)
                version = await self._write(flow, now, version)
        return refused

    async def _events(self, transfer: Transfer) -> AsyncIterator[tuple[Mapping[str, object], StreamName | None]]:
        """Yield what is to be sent, each with the stream that it is about, if it is about one."""
        movement = transfer.importing.movement
        if movement.settled:
            status = movement.status
            yield self._event(transfer, "transfer-settled", str(status), transferStatus=status.value), None
            return
        yield self._event(transfer, "listener-triggered", "begun"), None
        for entry in await transfer.due():
            sent = message_id(transfer.id, entry.id)
            data = {"messageId": sent, "key": file_key(entry.id), "label": entry.label}
            yield {**self._event(transfer, "app-data-uploaded", ""), **data}, entry.id.stream

    def _event(self, transfer: Transfer, type_: str, subject: str, **members: object) -> Mapping[str, object]:
        flow = transfer.importing.flow
        scope = uuid5(NAMESPACE_URL, f"{flow.source} {flow.destination}")
        created = flow.created.timestamp()
        profile = self._site.platform or PlatformProfile()
        if original := transfer.importing.movement.original:
            members["originalTransferId"] = str(transfer_id(flow, original))
        return {
            "eventType": type_,
            "messageId": str(uuid5(transfer.id, f"{type_} {subject}")),
            "transferId": str(transfer.id),
            "migrationDetails": {
                "migrationId": str(uuid5(scope, flow.name)),
                "migrationScopeId": str(scope),
                "name": flow.name,
                "createdAt": int(created * 1000) if profile.created_at == "milliseconds" else int(created),
                "cloudUrl": flow.destination,
            },
            **members,
        }

    async def _signer(self) -> EventSigner | None:
        """Return what signs the events, if they are signed."""
        profile = self._site.platform
        if profile is None or not profile.signs:
            return None
        from pipeline.http.platform.signing import signer_of  # it needs the extra `oidc`

        return await signer_of(profile, self._site.runtime.store)

    async def _read(self, flow: FlowName) -> tuple[_Document, Version | PutCondition]:
        key = platform_app_key(flow)
        try:
            stored = await self._site.runtime.store.get(key)
        except AbsentError:
            return _Document(), PutCondition.ABSENT
        return decode_document(stored.data, _Document, key), stored.version

    async def _write(self, flow: FlowName, document: _Document, condition: Version | PutCondition) -> Version:
        return await self._site.runtime.store.put(
            platform_app_key(flow), msgspec.json.encode(to_document(document)), condition
        )


def _fault(url: str) -> str | None:
    """Return why no event can go to a URL; None if nothing is wrong with it as it is written."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "a URL has no blanks"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # brackets that are no address, or a port that is no number
        return "it is no URL"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "it is no URL of an endpoint, such as https://app.example.org/events"
    if parts.username is not None or parts.password is not None:
        return "it has a user or a password, which would be shown in lists"
    with suppress(ValueError):  # a name is looked up when an event is sent, and its address is checked then
        if is_refused(host, parse_networks(OWN_MACHINE)):
            return f"{host} is neither a public address nor on this machine"
    return None


def _reaches(transfer: Transfer, alternatives: Sequence[Sequence[str]], stream: StreamName) -> bool:
    """Whether one of these scopes reaches a stream of the transfer."""
    known = transfer.importing.movement.scopes
    return any(Reach(scopes, known).has(stream) for scopes in alternatives)


async def run_webhooks(site: Site, sender: Sender) -> None:
    """Send the events of all Flows as they come, until cancelled. An endpoint that does not answer is tried again later."""
    webhooks, pauses = Webhooks(site), dict[FlowName, _Pauses]()
    while True:
        try:
            flows = await webhooks.flows()
        except PipelineError as error:
            log.warning("webhooks_not_listed", reason=str(error))
            flows = ()
        for flow in flows:
            await _send_flow(webhooks, flow, sender, pauses.setdefault(flow, _Pauses()))
        await anyio.sleep(POLL_SECONDS)


async def _send_flow(webhooks: Webhooks, flow: FlowName, sender: Sender, pauses: _Pauses) -> None:
    """Send the events of one Flow, and log what is not taken."""
    resting = pauses.resting()
    if _WHOLE_FLOW in resting:
        return
    try:
        refused = await webhooks.send_due(flow, sender, resting)
    except (ConflictError, AbsentError):
        return  # the app has changed its endpoints, or nothing was moved yet
    except PipelineError as error:
        refused = {_WHOLE_FLOW: str(error)}
    for reason in refused.values():
        log.warning("webhook_not_sent", flow=flow, reason=reason)
    pauses.note(refused, resting)


_WHOLE_FLOW = ""
"""In the place of an endpoint: the Flow cannot be read, so none of its endpoints gets anything."""


class _Pauses:
    """Until when the endpoints of a Flow that do not take an event are left alone: twice as long each time."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}

    def resting(self) -> Collection[str]:
        """Return the endpoints that are left alone now."""
        return {url for url, (until, _) in self._until.items() if anyio.current_time() < until}

    def note(self, refused: Collection[str], resting: Collection[str]) -> None:
        """Note which endpoints did not take an event. All others but those that were resting did."""
        now, kept = anyio.current_time(), {url: self._until[url] for url in resting}
        for url in refused:
            _, pause = self._until.get(url, (0.0, POLL_SECONDS / 2))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            kept[url] = now + pause, pause
        self._until = kept


async def _send(url: str, event: Mapping[str, object], headers: Mapping[str, str], sender: Sender) -> str:
    """Send an event to an endpoint with these headers beside; return why it does not take it, or nothing."""
    notification = Notification(
        str(event["messageId"]), str(event["eventType"]), "", "application/json", orjson.dumps(event), headers
    )
    endpoint = Endpoint("app", url, _BEGUN, profile="atlassian", allow_http=True, allow_private=OWN_MACHINE)
    answer = await sender.send(endpoint, notification)
    return "" if isinstance(answer, Delivered) else f"{urlsplit(url).netloc}: {answer.reason}"
