"""The notifier: looks for new events, and lets each endpoint have them. It is the only part that waits for receivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from random import Random

import anyio
from anyio.abc import TaskGroup

from pipeline.domain.errors import AbsentError, DamagedError, PipelineError
from pipeline.domain.ids import FlowName
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.engine.notifications.feed import Listed, is_under_way, list_events
from pipeline.engine.notifications.service import EndpointService, NotifierContext
from pipeline.log_events import log
from pipeline.ports.sender import Sender

BUCKET = FlowName("")
"""What belongs to no Flow."""
IDLE_LOOKS = 12
"""While no Movement is under way, the pause grows to this many times `notify_seconds`."""
NAMES_SECONDS = 60.0
"""The names of Flows are listed this often."""
REQUESTS_A_MINUTE = 60.0
"""An idle notifier sends at most about this number of requests to the store, however many Flows and endpoints there are."""


class Notifier:
    """Delivers events to all endpoints until stopped. Several may run: one at a time serves an endpoint."""

    def __init__(self, context: NotifierContext, sender: Sender, worker: str, random: Random | None = None) -> None:
        self._context = context
        self._endpoints = EndpointStore(context.store)
        self._sender, self._worker = sender, f"{worker}:notify"
        self._random = random or Random()
        self._services: dict[str, EndpointService] = {}
        self._busy: set[str] = set()
        self._names: Sequence[FlowName] = ()
        self._names_at = -inf

    async def run(self, stop: anyio.Event) -> None:
        """Look until `stop` is set: every `notify_seconds` while something happens, less and less often while nothing does."""
        await run_until_set(stop, self._look_regularly)

    async def _look_regularly(self) -> None:
        shortest = pause = self._context.notify_seconds
        async with anyio.create_task_group() as group:
            while True:
                requests, found = 1.0, False
                try:
                    requests, found = await self._look(group)
                except PipelineError as error:
                    log.warning("notifier_look_failed", reason=str(error))
                pause = (
                    shortest if found else min(2 * pause, max(IDLE_LOOKS * shortest, requests * 60 / REQUESTS_A_MINUTE))
                )
                await anyio.sleep(max(min(pause, self._seconds_to_next_try()), shortest / 5))

    def _seconds_to_next_try(self) -> float:
        due = [service.next_due for service in self._services.values() if service.next_due is not None]
        return (min(due) - self._context.clock.now()).total_seconds() if due else inf

    async def _look(self, group: TaskGroup) -> tuple[float, bool]:
        """Begin to serve every endpoint that has something to get; return the number of requests, and whether there was
        anything new or a Movement is under way."""
        endpoints = [one for one in await self._endpoints.list() if not one.disabled]
        self._services = {
            one.name: self._services.get(one.name) or EndpointService(self._context, self._endpoints, self._sender,
                                                                     self._worker, self._random)
            for one in endpoints
        }  # fmt: skip
        endpoints = [one for one in endpoints if one.name in self._busy or await self._is_readable(one)]
        if not endpoints:
            return 1.0, False
        idle = [one for one in endpoints if one.name not in self._busy]
        feed = await self._read_feed(endpoints)
        found = any(map(is_under_way, feed.values()))
        for endpoint in idle:
            service = self._services[endpoint.name]
            if service.has_work(endpoint, feed):
                found = True
                self._busy.add(endpoint.name)
                group.start_soon(self._serve, service, endpoint, feed, name=f"notify {endpoint.name}")
        return 1.0 + 2 * len(endpoints) + len(feed) + len(self._names) + 1, found

    async def _is_readable(self, endpoint: Endpoint) -> bool:
        """Read what was delivered to an endpoint; return whether that is known."""
        try:
            await self._services[endpoint.name].refresh(endpoint)
        except AbsentError:  # removed since it was listed
            return False
        except DamagedError as error:
            log.warning("endpoint_unreadable", endpoint=endpoint.name, reason=str(error))
            return False
        return True

    async def _serve(
        self, service: EndpointService, endpoint: Endpoint, feed: Mapping[FlowName, Sequence[Listed]]
    ) -> None:
        try:
            await service.serve(endpoint, feed)
        except PipelineError as error:
            log.warning("notifications_failed", endpoint=endpoint.name, reason=str(error))
        finally:
            self._busy.discard(endpoint.name)

    async def _read_feed(self, endpoints: Sequence[Endpoint]) -> Mapping[FlowName, Sequence[Listed]]:
        """Return the events of each Flow that an endpoint wants, from where the slowest of them is.

        Nothing is listed for an endpoint whose receiver is down.
        """
        now = self._context.clock.now()
        endpoints = [one for one in endpoints if self._services[one.name].takes_new(now)]
        if not endpoints:
            return {}
        await self._find_names()
        feed: dict[FlowName, Sequence[Listed]] = {}
        for flow in (BUCKET, *self._names):
            floors = [self._services[one.name].floor(flow) for one in endpoints if one.wants_flow(flow)]
            if floors:
                feed[flow] = await list_events(self._context.store, flow, min(floors))
        return feed

    async def _find_names(self) -> None:
        now, only = anyio.current_time(), self._context.only_flows
        if now - self._names_at >= NAMES_SECONDS:
            self._names = sorted(only) if only else await self._context.flows.list_names()
            self._names_at = now
