"""The platform's events, posted to the endpoints that an app has named, until each is answered with 2xx.

App data is announced when it may be imported: when all that comes before it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import anyio
import msgspec
import orjson

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError, PipelineError
from pipeline.domain.ids import FlowName, ObjectKey, decode_name, encode_name
from pipeline.domain.notifications.delivery import Delivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.platform.transfers import Transfer, file_key, message_id, transfer_id, transfer_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import PlatformProfile, Site
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition, Version, list_pages
from pipeline.ports.sender import Notification, Sender

POLL_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
OWN_MACHINE = ("127.0.0.0/8", "::1/128")
"""Beside public addresses, events go to this machine alone."""
PREFIX = "serve/platform/"
_BEGUN = datetime.fromtimestamp(0, UTC)


class _Document(msgspec.Struct):
    """The endpoints of a Flow's app, and the messages of one Movement that they have got."""

    endpoints: list[str] = []
    movement: int = 0
    delivered: list[str] = []


class Webhooks:
    """The endpoints of apps, in the bucket."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def endpoints(self, flow: FlowName) -> Sequence[str]:
        """Return the endpoints of a Flow's app."""
        return (await self._read(flow))[0].endpoints

    async def put(self, flow: FlowName, endpoints: Sequence[str]) -> None:
        """Replace the endpoints. ProblemError when one is no URL."""
        for url in endpoints:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ProblemError(HTTPStatus.BAD_REQUEST, f"{url[:200]!r} is no URL of an endpoint.")
        document, version = await self._read(flow)
        await self._write(flow, msgspec.structs.replace(document, endpoints=list(endpoints)), version)

    async def flows(self) -> Sequence[FlowName]:
        """Return the Flows whose apps have named endpoints."""
        found = [info.key async for page in list_pages(self._site.runtime.store, PREFIX) for info in page]
        return [FlowName(decode_name(key.removeprefix(PREFIX).removesuffix(".json"))) for key in found]

    async def send_due(self, flow: FlowName, sender: Sender) -> str:
        """Send what a Flow's endpoints have not got yet; return why one of them does not take it, or nothing."""
        document, version = await self._read(flow)
        if not document.endpoints:
            return ""
        transfer = await transfer_of(self._site, flow)
        number = transfer.importing.movement.number
        known = set(document.delivered) if document.movement == number else set()
        async for event in self._events(transfer):
            if (id_ := str(event["messageId"])) in known:
                continue
            if refused := await _send(document.endpoints, event, sender):
                return refused
            known.add(id_)
            document = _Document(document.endpoints, number, sorted(known))
            version = await self._write(flow, document, version)
        return ""

    async def _events(self, transfer: Transfer) -> AsyncIterator[Mapping[str, object]]:
        movement = transfer.importing.movement
        if movement.settled:
            yield self._event(transfer, "transfer-settled", str(movement.status), transferStatus=movement.status.value)
            return
        yield self._event(transfer, "listener-triggered", "begun")
        for entry in await transfer.due():
            sent = message_id(transfer.id, entry.id)
            data = {"messageId": sent, "key": file_key(entry.id), "label": entry.label}
            yield {**self._event(transfer, "app-data-uploaded", ""), **data}

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

    async def _read(self, flow: FlowName) -> tuple[_Document, Version | PutCondition]:
        key = _key(flow)
        try:
            stored = await self._site.runtime.store.get(key)
        except AbsentError:
            return _Document(), PutCondition.ABSENT
        return decode_document(stored.data, _Document, key), stored.version

    async def _write(self, flow: FlowName, document: _Document, condition: Version | PutCondition) -> Version:
        return await self._site.runtime.store.put(_key(flow), msgspec.json.encode(to_document(document)), condition)


async def run_webhooks(site: Site, sender: Sender) -> None:
    """Send the events of all Flows as they come, until cancelled. An endpoint that does not answer is tried again later."""
    webhooks, pauses = Webhooks(site), dict[FlowName, tuple[float, float]]()
    while True:
        for flow in await webhooks.flows():
            until, pause = pauses.get(flow, (0.0, POLL_SECONDS))
            if anyio.current_time() < until:
                continue
            try:
                refused = await webhooks.send_due(flow, sender)
            except (ConflictError, AbsentError):
                continue  # the app has changed its endpoints, or nothing was moved yet
            except PipelineError as error:
                refused = str(error)
            if refused:
                log.warning("webhook_not_sent", flow=flow, reason=refused)
                pauses[flow] = anyio.current_time() + pause, min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                pauses.pop(flow, None)
        await anyio.sleep(POLL_SECONDS)


async def _send(endpoints: Sequence[str], event: Mapping[str, object], sender: Sender) -> str:
    """Send an event to all endpoints; return why one does not take it, or nothing."""
    notification = Notification(
        str(event["messageId"]), str(event["eventType"]), "", "application/json", orjson.dumps(event)
    )
    for url in endpoints:
        endpoint = Endpoint("app", url, _BEGUN, profile="atlassian", allow_http=True, allow_private=OWN_MACHINE)
        answer = await sender.send(endpoint, notification)
        if not isinstance(answer, Delivered):
            return f"{urlsplit(url).netloc}: {answer.reason}"
    return ""


def _key(flow: FlowName) -> ObjectKey:
    return ObjectKey(f"{PREFIX}{encode_name(flow)}.json")
