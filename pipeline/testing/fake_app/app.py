"""FakeApp: a REST service in memory, which can be as unkind as real ones are."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from pipeline.testing.fake_app.collection import Collection, Object
from pipeline.testing.fake_app.response import Response

_LISTING = frozenset({"offset", "after", "cursor", "since", "limit"})


def _nothing(app: FakeApp) -> None:
    return


@dataclass
class FakeApp:
    """A REST service with any collections: `/issues`, `/issues/7`.

    `GET /issues` gives a page: `items`, `next`, `total`. Ask for the next with `?offset=`, with `?after=` (the last id), or
    with `?cursor=` (the list as it was; empty for the first page). `?since=` gives the change feed: `items`, `deleted`,
    `cursor`, `more`. Any other parameter is a field to search by. `POST` creates, once for each `Idempotency-Key`; `PUT`,
    `PATCH` and `DELETE` change an object or are answered 404.

    `page_size` objects are on a page. Without `honours_keys`, the header `Idempotency-Key` is ignored. `rate_limit` is the
    number of requests a second; further ones are answered 429. Of the others, the part `busy` is answered 503, and of the
    part `lost_answers` the answer is lost, half of them after the effect. An object is seen in lists, searches and the
    change feed `visible_after` seconds after it was created. The cursor of the feed is a time in seconds and may be later
    than objects that are not seen yet: declare `changes` with a `lag` of as many seconds. `between_pages` is called before
    each page but a first one. The same `seed` is the same luck. `requests` has the method, path and status of each request,
    0 where the answer was lost.
    """

    page_size: int = 10
    honours_keys: bool = True
    rate_limit: int = 0
    busy: float = 0.0
    lost_answers: float = 0.0
    visible_after: float = 0.0
    between_pages: Callable[[FakeApp], None] = _nothing
    seed: int = 0
    requests: list[tuple[str, str, int]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._collections: dict[str, Collection] = defaultdict(Collection)
        self._clock: Callable[[], float] = _now
        self._random, self._window, self._changed = Random(self.seed), (0, 0), 0.0

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make a request in process. ConnectionError when the answer is lost."""
        await checkpoint()
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        response = self.respond(method, path, given, dict(body or {}), headers or {})
        await checkpoint()
        if response is None:
            raise ConnectionError(f"{method} {path}: the connection was closed before the answer came")
        return response

    def serve(self) -> AbstractContextManager[str]:
        """Serve over HTTP on this computer while the context is open; it gives the URL."""
        from pipeline.testing.fake_app.server import serve  # few tests need it

        self._clock = time.monotonic
        return serve(self.respond)

    def objects(self, collection: str) -> Iterator[Object]:
        """Yield all objects of a collection, those among them that are not seen yet."""
        yield from deepcopy(list(self._collections[collection].objects.values()))

    def respond(
        self, method: str, path: str, query: Mapping[str, str], body: Object, headers: Mapping[str, str]
    ) -> Response | None:
        """Return the answer to a request, and do what it asks for; None when the answer is lost."""
        luck = self._random.random() if self.busy or self.lost_answers else 1.0
        if self._is_over_limit():
            response = Response(429, {"error": "too many requests"}, {"Retry-After": "1"})
        elif luck < self.busy:
            response = Response(503, {"error": "busy"}, {"Retry-After": "0.05"})
        elif luck < self.busy + self.lost_answers / 2:
            self.requests.append((method, path, 0))
            return None
        else:
            response = deepcopy(self._answer(method, path, query, deepcopy(body), headers))
            if luck < self.busy + self.lost_answers:
                self.requests.append((method, path, 0))
                return None
        self.requests.append((method, path, response.status))
        return response

    def _is_over_limit(self) -> bool:
        if not self.rate_limit:
            return False
        second = int(self._clock())
        before, count = self._window
        self._window = second, count + 1 if second == before else 1
        return self._window[1] > self.rate_limit

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: Object, headers: Mapping[str, str]
    ) -> Response:
        name, *rest = path.strip("/").split("/")
        collection = self._collections[name]
        if not rest:
            if method == "POST":
                return self._create(collection, body, headers.get("Idempotency-Key", ""))
            return self._list(collection, query) if method == "GET" else Response(405)
        id_ = int(rest[0]) if rest[0].isdecimal() else 0
        if id_ not in collection.objects:
            return Response(404, {"error": f"there is no {name} {rest[0]}"})
        match method:
            case "GET":
                return Response(200, collection.objects[id_])
            case "PUT" | "PATCH":
                return Response(200, collection.replace(id_, body, self._next_change()))
            case "DELETE":
                collection.delete(id_, self._next_change())
                return Response(204)
        return Response(405)

    def _create(self, collection: Collection, body: Object, key: str) -> Response:
        if key and self.honours_keys and key in collection.by_key:
            return Response(200, {"id": collection.by_key[key]})
        made = collection.create(body, self._next_change(), self._clock() + self.visible_after)
        collection.by_key[key] = made["id"]
        return Response(201, made)

    def _next_change(self) -> float:
        """Return the time of a change, in whole microseconds. No two changes have the same one."""
        self._changed = round(max(self._clock(), self._changed + 1e-6), 6)
        return self._changed

    def _list(self, collection: Collection, query: Mapping[str, str]) -> Response:
        numbers = {name: query.get(name) or "0" for name in ("offset", "after")}
        numbers["limit"] = query.get("limit", str(self.page_size))
        for name, text in numbers.items():
            if not text.isdecimal() or (name, int(text)) == ("limit", 0):
                return Response(400, {"error": f"{name}={text} is no number that it can be"})
        size = min(int(numbers["limit"]), self.page_size)
        if "since" in query:
            return self._feed(collection, query["since"], size)
        if query.get("offset", "0") != "0" or query.get("after", "0") != "0" or query.get("cursor"):
            self.between_pages(self)
        wanted = {name: value for name, value in query.items() if name not in _LISTING}
        found = [
            one
            for one in collection.seen(self._clock())
            if all(name in one and str(one[name]) == value for name, value in wanted.items())
        ]
        if "cursor" in query:
            page = collection.page_by_cursor(found, query["cursor"], size)
            return Response(400, {"error": "there is no such cursor"}) if page is None else Response(200, page)
        if "after" in query:
            return Response(200, collection.page_by_id(found, int(numbers["after"]), size))
        return Response(200, collection.page_by_offset(found, int(numbers["offset"]), size))

    def _feed(self, collection: Collection, since: str, size: int) -> Response:
        try:
            return Response(200, collection.changes_since(float(since or 0), size, self._clock()))
        except ValueError:
            return Response(400, {"error": f"since={since} is no cursor"})


def _now() -> float:
    """Return the time of the event loop, which a test may make virtual; without a loop, that of this computer."""
    try:
        return anyio.current_time()
    except RuntimeError:  # no event loop runs
        return time.monotonic()
