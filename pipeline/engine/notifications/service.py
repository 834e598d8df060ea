"""Serving one endpoint: what is due is sent, and what became of it is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from random import Random

import anyio

from pipeline.codec.documents.notification import CLOUDEVENTS_TYPE, JSON_TYPE, TYPE_PREFIX, cloudevent, sam_event
from pipeline.codec.documents.outbox_event import decode_outbox_event
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import (
    Answer,
    Delivered,
    Deliveries,
    NotDelivered,
    Position,
    after,
    with_taken,
)
from pipeline.domain.notifications.endpoint import PROFILES, Endpoint, Form
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.retries import LostRaceError
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.engine.notifications.feed import Listed, advanced, pending
from pipeline.log_events import log
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition, Version
from pipeline.ports.sender import Notification, Sender

AT_ONCE = 4
"""Events that are sent to one endpoint side by side."""
SENT_BEFORE_STORED = 16
"""After at most this many events, what was delivered is stored: a notifier that dies may send these again, with their ids."""
STORED_SECONDS = 2.0
"""With a slow receiver, it is stored this often."""
STOPPING_SECONDS = 5.0
"""A notifier that stops takes at most this long to store what was delivered."""
TAKE_OVER_SECONDS = 30.0
"""An endpoint that has had something to get for this long, and whose notifier has stored nothing, is taken over."""


@dataclass(frozen=True, slots=True)
class NotifierContext:
    """What a notifier works with. `notify_seconds`: it looks this often while a Movement is under way. With `only_flows`, it
    delivers the events of these Flows alone."""

    store: ObjectStore
    flows: FlowStore
    clock: Clock
    notify_seconds: float = 5.0
    only_flows: frozenset[FlowName] = frozenset()


@dataclass(frozen=True, slots=True)
class _Due:
    """An event to send now: a new one, or one that was tried before."""

    key: ObjectKey
    new: Listed | None = None


class EndpointService:
    """Serves one endpoint. `refresh` reads what is known of the deliveries, since others may have changed it."""

    def __init__(
        self, context: NotifierContext, endpoints: EndpointStore, sender: Sender, worker: str, random: Random
    ) -> None:
        self._context, self._endpoints, self._sender = context, endpoints, sender
        self._worker, self._random = worker, random
        self._known = self._stored = Deliveries()
        self._condition: Version | PutCondition = PutCondition.ABSENT
        self._other: tuple[Version | PutCondition, float] | None = None

    @property
    def next_due(self) -> datetime | None:
        """When an event is tried again, as far as this process knows."""
        return self._known.next_due

    def takes_new(self, now: datetime) -> bool:
        """Return whether the receiver takes new events, as far as this process knows."""
        return self._known.takes_new(now)

    def floor(self, flow: FlowName) -> int:
        """Return the first Movement of a Flow whose events may be missing at the endpoint."""
        return self._position(flow).movement

    def _position(self, flow: FlowName) -> Position:
        return self._known.positions.get(flow, Position())

    def has_work(self, endpoint: Endpoint, feed: Mapping[FlowName, Sequence[Listed]]) -> bool:
        """Return whether there may be something to send now."""
        now = self._context.clock.now()
        return bool(self._known.due(now)) or (self._known.takes_new(now) and any(self._new(endpoint, feed)))

    async def serve(self, endpoint: Endpoint, feed: Mapping[FlowName, Sequence[Listed]]) -> None:
        """Send what is due, until nothing is, or the receiver takes nothing more."""
        waiting = deque(self._new(endpoint, feed))
        try:
            while self._owns(endpoint) and (due := self._next(waiting)):
                if await self._send_batch(endpoint, due, waiting):
                    return
        finally:
            with anyio.move_on_after(STOPPING_SECONDS, shield=True):
                await self._store(endpoint)
        if self._owns(endpoint) and not waiting:
            await self._advance(endpoint, feed)

    async def _send_batch(self, endpoint: Endpoint, due: Sequence[_Due], waiting: deque[Listed]) -> bool:
        """Send a batch, and store what became of it; return whether the endpoint was disabled."""
        gone, stored_at = False, anyio.current_time()
        for start in range(0, len(due), AT_ONCE):
            some = due[start : start + AT_ONCE]
            gone = await self._send_some(endpoint, some)
            for _ in range(sum(one.new is not None for one in some)):
                waiting.popleft()
            if gone or self._known.is_down:
                break
            if anyio.current_time() - stored_at > STORED_SECONDS:
                await self._store(endpoint)
                stored_at = anyio.current_time()
        await self._store(endpoint)
        if gone or self._known.must_be_disabled(self._context.clock.now()):
            await self._disable(endpoint, gone=gone)
            return True
        return False

    async def refresh(self, endpoint: Endpoint) -> None:
        """Read what is known of the deliveries. AbsentError when the endpoint was removed since it was listed."""
        self._known, self._condition = await self._endpoints.deliveries(endpoint.name)
        if self._condition is PutCondition.ABSENT:
            await self._endpoints.read(endpoint.name)
        self._stored = self._known

    def _owns(self, endpoint: Endpoint) -> bool:
        """Return whether this notifier serves the endpoint; take it over when the one that did is silent."""
        if self._known.worker in ("", self._worker):
            self._other = None
            return True
        now = anyio.current_time()
        if self._other is None or self._other[0] != self._condition:
            self._other = self._condition, now
        if now - self._other[1] < TAKE_OVER_SECONDS:
            return False
        log.info("endpoint_taken_over", endpoint=endpoint.name, worker=self._known.worker)
        self._known, self._other = replace(self._known, worker=self._worker), None
        return True

    def _next(self, waiting: deque[Listed]) -> Sequence[_Due]:
        """Return what to send next; new events leave `waiting` when they are sent."""
        now = self._context.clock.now()
        again = [_Due(retry.key) for retry in self._known.due(now)[:SENT_BEFORE_STORED]]
        room = SENT_BEFORE_STORED - len(again) if self._known.takes_new(now) else 0
        return [*again, *(_Due(one.key, one) for one in islice(waiting, room))]

    def _new(self, endpoint: Endpoint, feed: Mapping[FlowName, Sequence[Listed]]) -> Iterator[Listed]:
        wanted = (flow for flow in feed if endpoint.wants_flow(flow))
        return (one for flow in wanted for one in pending(feed[flow], self._position(flow), endpoint))

    async def _send_some(self, endpoint: Endpoint, due: Sequence[_Due]) -> bool:
        """Send some events side by side, and note what became of each; return whether the receiver wants no more."""
        answers: dict[ObjectKey, Answer] = {}

        async def send(key: ObjectKey) -> None:
            answers[key] = await self._send(endpoint, key)

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for one in due:
                    group.start_soon(send, one.key, name=f"send {one.key}")
        for one in due:
            if one.new is not None:
                self._known = with_taken(self._known, one.new.flow, one.new.part, one.new.id)
            self._note(endpoint, one.key, answers[one.key])
        return any(isinstance(answer, NotDelivered) and answer.gone for answer in answers.values())

    def _note(self, endpoint: Endpoint, key: ObjectKey, answer: Answer) -> None:
        now, profile = self._context.clock.now(), PROFILES[endpoint.profile]
        before = len(self._known.given_up)
        self._known = after(self._known, key, answer, profile, now, lambda: self._random.uniform(-1, 1))
        if isinstance(answer, NotDelivered):
            log.warning("notification_failed", endpoint=endpoint.name, key=key, reason=answer.reason)
        if len(self._known.given_up) > before:
            log.warning("notification_given_up", endpoint=endpoint.name, key=key)

    async def _send(self, endpoint: Endpoint, key: ObjectKey) -> Answer:
        try:
            event = decode_outbox_event((await self._context.store.get(key)).data, key)
        except (AbsentError, DamagedError) as error:  # a person has removed it: it can never be delivered
            log.warning("notification_passed_over", endpoint=endpoint.name, key=key, reason=str(error))
            return Delivered()
        return await self._sender.send(endpoint, await self._render(endpoint, event))

    async def _render(self, endpoint: Endpoint, event: OutboxEvent) -> Notification:
        if endpoint.form is Form.SAM:
            flow = await self._context.flows.read_flow(event.flow)
            return Notification(event.id, "event-file-list-uploaded", event.flow, JSON_TYPE, sam_event(event, flow))
        body = cloudevent(event, include_reasons=endpoint.include_reasons)
        return Notification(event.id, f"{TYPE_PREFIX}{event.type.value}", event.flow, CLOUDEVENTS_TYPE, body)

    async def _advance(self, endpoint: Endpoint, feed: Mapping[FlowName, Sequence[Listed]]) -> None:
        """Forget the events of Movements and days that are over."""
        positions = {
            flow: advanced(events, self._position(flow))
            for flow, events in feed.items()
            if events and endpoint.wants_flow(flow)
        }
        if positions.items() <= self._known.positions.items():
            return
        self._known = replace(self._known, positions={**self._known.positions, **positions})
        await self._store(endpoint)

    async def _store(self, endpoint: Endpoint) -> None:
        if self._known is self._stored:
            return
        state = replace(self._known, worker=self._worker)
        try:
            self._condition = await self._endpoints.replace_deliveries(endpoint.name, state, self._condition)
        except LostRaceError:
            log.info("endpoint_lost", endpoint=endpoint.name)
            await self.refresh(endpoint)
            return
        self._known = self._stored = state

    async def _disable(self, endpoint: Endpoint, *, gone: bool) -> None:
        now = self._context.clock.now()
        reason = "it answered 410 Gone" if gone else f"it has taken nothing for five days: {self._known.last_failure}"
        await self._endpoints.update(endpoint.name, lambda one: replace(one, disabled=one.disabled or reason))
        log.warning("endpoint_disabled", endpoint=endpoint.name, reason=reason)
        event = OutboxEvent(
            EventType.ENDPOINT_DISABLED,
            FlowName(""),
            0,
            now,
            f"{endpoint.name} {now.isoformat()}",
            {"endpoint": endpoint.name},
            (reason,),
        )
        await self._context.flows.outbox.note([event])
