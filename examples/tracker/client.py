"""The client of the tracker's REST API: requests over HTTP, with its errors as those of the kit."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from anyio import to_thread

from pipeline.kit import Again, Gone, Refused

SECONDS = 10.0


class Client:
    """Requests to one tracker. Each opens a connection of its own, so that they may run side by side."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._token = token

    async def get(self, path: str, **query: object) -> Any:
        """Return the JSON of a resource. Members of `query` that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._request("GET", f"{path}?{urlencode(given)}", None, {})

    async def post(self, path: str, body: dict[str, object], key: str) -> Any:
        """Create a resource, once for each `key`."""
        return await self._request("POST", path, body, {"Idempotency-Key": key})

    async def put(self, path: str, id_: str, body: dict[str, object]) -> None:
        """Replace a resource."""
        await self._request("PUT", f"{path}/{quote(id_)}", body, {})

    async def delete(self, path: str, id_: str) -> None:
        """Delete a resource."""
        await self._request("DELETE", f"{path}/{quote(id_)}", None, {})

    async def _request(self, method: str, path: str, body: object, headers: dict[str, str]) -> Any:
        status, wait, text = await to_thread.run_sync(self._send, method, path, body, headers)
        match status:
            case 429 | 503:
                raise Again(after=float(wait or 1))
            case 404 | 410:
                raise Gone
            case 400 | 409 | 422:
                raise Refused(text)
            case 200 | 201 | 204:
                return json.loads(text) if text else None
        raise OSError(f"the tracker answered {status} to {method} {path}")

    def _send(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, str | None, str]:
        connection = http.client.HTTPConnection(self._host, timeout=SECONDS)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**headers, "Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            return response.status, response.headers.get("Retry-After"), response.read().decode()
        finally:
            connection.close()
