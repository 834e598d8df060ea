"""An app over real HTTP that is unkind: it changes between pages, asks to wait, loses answers, and gives short lists."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from anyio import to_thread

from pipeline.kit import Again

PAGE_ROWS = 10


@dataclass
class UnkindApp:
    """Rows by key, in pages by offset or by key, and a log of changed keys.

    `before` is called with the number and the path of each request before it is answered. It returns "busy" for an answer
    that asks to wait, "lost" for none at all, or another answer than the app's own.
    """

    rows: dict[int, str] = field(default_factory=dict)
    log: list[int] = field(default_factory=list)
    before: Callable[[int, str], object] = lambda number, path: None
    requests: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str) -> object:
        """Return the answer to a request; "busy" or "lost" for none."""
        self.requests.append(path)
        other = self.before(len(self.requests), path)
        if other is not None:
            return other
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if path.startswith("/changes"):
            since = int(query.get("since", 0))
            part = self.log[since : since + PAGE_ROWS]
            items = [[key, self.rows[key]] for key in part if key in self.rows]
            gone = [key for key in part if key not in self.rows]
            end = since + len(part)
            return {"items": items, "gone": gone, "cursor": str(end), "more": end < len(self.log)}
        if path.startswith("/single"):
            keys = json.loads(query["keys"])
            return {"items": [[key, self.rows[key]] for key in keys if key in self.rows]}
        if "after" in query:
            keys = sorted(key for key in self.rows if key > int(query["after"]))
        else:
            keys = list(self.rows)[int(query.get("offset", 0)) :]
        shown = keys[:PAGE_ROWS]
        following = shown[-1] if "after" in query else int(query.get("offset", 0)) + PAGE_ROWS
        return {
            "items": [[key, self.rows[key]] for key in shown],
            "next": str(following) if len(keys) > PAGE_ROWS else None,
            "total": len(self.rows),
        }


@dataclass
class Client:
    """What an author writes to talk to the app."""

    port: int

    async def get(self, path: str, **query: object) -> Mapping[str, Any]:
        """Return an answer. `Again` when the app asks to wait; ConnectionError when no answer comes."""
        return await to_thread.run_sync(
            self._get, path, {name: value for name, value in query.items() if value is not None}
        )

    def _get(self, path: str, query: Mapping[str, object]) -> Mapping[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            with connection.getresponse() as response:
                data = response.read()
                if response.status == 429:
                    raise Again(after=float(response.headers["Retry-After"]))
                found: Mapping[str, Any] = json.loads(data)
                return found
        except HTTPException as error:
            raise ConnectionError("no answer") from error
        finally:
            connection.close()


@contextmanager
def serve_unkind(app: UnkindApp) -> Iterator[Client]:
    """Serve an app on this computer; yield a client of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name in the standard library
            answer = app.answer(self.path)
            if answer == "lost":
                self.close_connection = True
                return
            self.send_response(429 if answer == "busy" else 200)
            self.send_header("Retry-After", "0.01")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:  # the name in the standard library
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    app.port = server.server_address[1]
    try:
        yield Client(app.port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
