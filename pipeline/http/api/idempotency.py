"""Requests that are sent again with their `Idempotency-Key`: done once, and answered alike for a day."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import anyio
import msgspec

from pipeline.codec.wire import Time, decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Flow
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site
from pipeline.http.tokens import Identity
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition, Version

REQUESTS = "serve/requests/"
KEPT = timedelta(days=1)
"""How long an answer is kept at least."""
WORK = timedelta(seconds=60)
"""A server that has not said for so long that it is at work is taken for dead."""
RENEWED = WORK / 3
"""How often a server says that it is at work: two failures in a row cost it nothing."""
LOOKED_AT = 20
"""How many stored requests are looked at with each new one, to delete those that are old."""


class _Request(msgspec.Struct):
    """A request, when its server was last at work, and its answer once it is done. One that has `failed` counts for nothing.

    So does one about a Flow that was removed since: `flow_created` is when the Flow was created. Earlier releases have not
    stored it.
    """

    asked: str
    begun: Time
    answer: dict[str, Any] | None = None
    failed: bool = False
    flow_created: Time | None = None

    def counts(self, flow: Flow) -> bool:
        """Whether the request counts for a request about this Flow."""
        return not self.failed and self.flow_created in (None, flow.created)


async def once(
    site: Site, who: Identity, name: str, flow: Flow, asked: str, do: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the answer to the request with this key about a Flow; do it if it is not done yet. One that fails may be sent
    again.

    ProblemError 409 while it is in work, 422 when the key was used for another one (draft-ietf-httpapi-idempotency-key-header).
    """
    key = ObjectKey(f"{REQUESTS}{hashlib.sha256(chr(0).join((who.name, name)).encode()).hexdigest()}.json")
    before = await _read(site, key)
    if before is not None and before[0].counts(flow):
        _ensure_same(before[0], asked)
        if before[0].answer is not None:
            return before[0].answer
        if site.clock.now() < before[0].begun + WORK:
            raise _in_work()
    claim = _Claim(site, key, asked, flow.created)
    try:
        await claim.put(PutCondition.ABSENT if before is None else before[1])
    except ConflictError:
        raise _in_work() from None
    try:
        answer = await claim.hold(do)
    except Exception:
        await claim.end(failed=True)
        raise
    await claim.end(answer=answer)
    await _delete_old(site)
    return answer


class _Claim:
    """A request that this server does. Another one MAY take it over when it was not renewed for `WORK`."""

    def __init__(self, site: Site, key: ObjectKey, asked: str, flow_created: datetime) -> None:
        self._site, self._key, self._asked, self._flow_created = site, key, asked, flow_created
        self._version: Version | None = None
        self._done = anyio.Event()

    async def put(
        self, condition: Version | PutCondition, *, answer: dict[str, Any] | None = None, failed: bool = False
    ) -> None:
        """Store how far the request is. ConflictError when another server has taken it over."""
        request = _Request(self._asked, self._site.clock.now(), answer, failed, self._flow_created)
        data = msgspec.json.encode(to_document(request))
        self._version = await self._site.runtime.store.put(self._key, data, condition)

    async def hold(self, do: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Do the request, and renew the claim meanwhile."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._renew)
            try:
                answer = await do()
            except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap it
                failure = error
            self._done.set()
        if failure is not None:
            raise failure
        return answer

    async def end(self, *, answer: dict[str, Any] | None = None, failed: bool = False) -> None:
        """Store the answer, or that there is none. An answer that another server has stored meanwhile stays."""
        if self._version is not None:
            with suppress(ConflictError):
                await self.put(self._version, answer=answer, failed=failed)

    async def _renew(self) -> None:
        """Renew until the request is done. No put is cancelled then: it would not be known which version is ours."""
        while self._version is not None:
            with anyio.move_on_after(RENEWED.total_seconds()):
                await self._done.wait()
                return
            try:
                await self.put(self._version)
            except ConflictError:
                self._version = None
            except PipelineError as error:
                log.info("request_not_renewed", reason=str(error))


def _ensure_same(before: _Request, asked: str) -> None:
    if before.asked != asked:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "This Idempotency-Key was used for another request. Use a new one."
        )


async def _read(site: Site, key: ObjectKey) -> tuple[_Request, Version] | None:
    try:
        stored = await site.runtime.store.get(key)
    except AbsentError:
        return None
    return decode_document(stored.data, _Request, key), stored.version


async def _delete_old(site: Site) -> None:
    """Delete old requests, among some from a random place on: their names are digests."""
    after = ObjectKey(f"{REQUESTS}{secrets.token_hex(2)}")
    for info in await site.runtime.store.list_page(REQUESTS, after=after, limit=LOOKED_AT):
        if info.modified < site.clock.now() - KEPT:
            await site.runtime.store.delete(info.key)


def _in_work() -> ProblemError:
    return ProblemError(
        HTTPStatus.CONFLICT, "This request is in work. Send it again for its answer.", headers={"retry-after": "1"}
    )
