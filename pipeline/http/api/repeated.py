"""Requests that are sent again with their `Idempotency-Key`: done once, and answered alike for a day."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from pipeline.codec.wire import Time, decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import ObjectKey
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site
from pipeline.http.tokens import Identity
from pipeline.ports.object_store import PutCondition, Version

REQUESTS = "serve/requests/"
KEPT = timedelta(days=1)
"""How long an answer is kept at least."""
WORK = timedelta(seconds=60)
"""After so long without an answer, the server that began is taken for dead."""
LOOKED_AT = 20
"""How many stored requests are looked at with each new one, to delete those that are old."""


class _Request(msgspec.Struct):
    """A request, and its answer once it is done."""

    asked: str
    begun: Time
    answer: dict[str, Any] | None = None


async def once(
    site: Site, who: Identity, name: str, asked: str, do: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the answer to the request with this key; do it if it is not done yet. One that fails may be sent again.

    ProblemError 409 while it is in work, 422 when the key was used for another one (draft-ietf-httpapi-idempotency-key-header).
    """
    store = site.runtime.store
    key = ObjectKey(f"{REQUESTS}{hashlib.sha256(chr(0).join((who.name, name)).encode()).hexdigest()}.json")
    before = await _read(site, key)
    if before is not None and before[0].asked != asked:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "This Idempotency-Key was used for another request. Use a new one."
        )
    if before is not None and before[0].answer is not None:
        return before[0].answer
    request = _Request(asked, site.clock.now())
    if before is not None and request.begun < before[0].begun + WORK:
        raise _in_work()
    try:
        version = await store.put(key, _encoded(request), PutCondition.ABSENT if before is None else before[1])
    except ConflictError:
        raise _in_work() from None
    try:
        request.answer = await do()
    except Exception:
        await store.delete(key)
        raise
    await store.put(key, _encoded(request), version)
    await _delete_old(site)
    return request.answer


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


def _encoded(request: _Request) -> bytes:
    return msgspec.json.encode(to_document(request))
