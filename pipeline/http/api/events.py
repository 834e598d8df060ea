"""The events of a Flow: as a list, and as a stream that a client follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated

import anyio
import orjson
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from pipeline.assembly.commands.history import read_history
from pipeline.domain.ids import FlowName
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.http.access import Viewer
from pipeline.http.api.models import Page
from pipeline.http.api.paths import After, FlowPath, Limit, page_of
from pipeline.http.feeds import REFRESH_SECONDS
from pipeline.http.site import Site, site_of

PING_SECONDS = 15.0
"""A comment is sent after so long without an event, so that proxies keep the connection."""
RECONNECT_MILLISECONDS = 2000

router = APIRouter(prefix="/flows/{flow}/events", tags=["events"])


class EventModel(BaseModel):
    """What happened. docs/reference/events.md describes the types."""

    id: str
    type: str
    flow: str
    movement: int
    time: datetime
    subject: str
    data: dict[str, object]
    reasons: list[str]

    @classmethod
    def of(cls, event: OutboxEvent) -> EventModel:
        """Return the document of an event."""
        return cls(
            id=event.id,
            type=event.type.value,
            flow=event.flow,
            movement=event.movement,
            time=event.time,
            subject=event.subject,
            data=dict(event.data),
            reasons=list(event.reasons),
        )


@router.get("")
async def list_events(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    movement: Annotated[int | None, Query(ge=1, description="Only those of this Movement.")] = None,
    after: After = None,
    limit: Limit = 100,
) -> Page[EventModel]:
    """List what happened in a Flow, oldest first."""
    found = await read_history(site_of(request).runtime, flow, movement)
    page = page_of(found.events, lambda event: event.id, after, limit)
    return Page(items=[EventModel.of(event) for event in page.items], next=page.next)


@router.get("/stream", response_class=StreamingResponse)
async def follow(
    request: Request, _: Viewer, flow: FlowPath, last_event_id: Annotated[str | None, Header(max_length=200)] = None
) -> Response:
    """Send events as they come, as server-sent events. `Last-Event-ID` goes on behind that event.

    Without it, the stream begins with the latest Movement. Behind an event that is not known, all events come.
    """
    site = site_of(request)
    await site.runtime.flows.read_flow(flow)  # AbsentError before the answer begins
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(site, flow, last_event_id), media_type="text/event-stream", headers=headers)


async def _stream(site: Site, flow: FlowName, last: str | None) -> AsyncIterator[bytes]:
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    quiet_since = anyio.current_time()
    known, missed = await _split(site, flow, last)
    sent = {event.id for event in known}
    for event in missed:
        sent.add(event.id)
        yield _encoded(event)
    while not site.stopping.is_set():
        for event in await site.feeds.of(flow).events():
            if event.id not in sent:
                sent.add(event.id)
                quiet_since = anyio.current_time()
                yield _encoded(event)
        if anyio.current_time() - quiet_since > PING_SECONDS:
            quiet_since = anyio.current_time()
            yield b": still here\n\n"
        with anyio.move_on_after(REFRESH_SECONDS):
            await site.stopping.wait()


async def _split(site: Site, flow: FlowName, last: str | None) -> tuple[Sequence[OutboxEvent], Sequence[OutboxEvent]]:
    """Return the events up to `last`, and those behind it: all of them when there is no such event."""
    if last is None:
        return (), ()
    events = (await read_history(site.runtime, flow)).events
    at = next((place for place, event in enumerate(events) if event.id == last), -1)
    return events[: at + 1], events[at + 1 :]


def _encoded(event: OutboxEvent) -> bytes:
    data = orjson.dumps(EventModel.of(event).model_dump(mode="json"))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.value.encode(), data)
