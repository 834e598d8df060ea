"""A tracker over real HTTP: pages by key and by offset, idempotency keys, rate limits, and answers that are lost."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Row = dict[str, object]
PAGE_ROWS = 7


@dataclass
class Tracker:
    """The state of a tracker. `chance` is that of an answer that is lost, after the effect, or a request to wait."""

    chance: float = 0.0
    seed: int = 0
    tables: dict[str, dict[int, Row]] = field(default_factory=lambda: {"projects": {}, "issues": {}})
    created: int = 0
    url: str = ""
    before: Callable[[str, str], None] = lambda method, path: None
    _keys: dict[str, Row] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def handle(self, method: str, path: str, body: Row, key: str) -> tuple[int, object]:
        """Return the status and the answer of a request."""
        with self._lock:
            self.before(method, path)
            parts = urlsplit(path)
            _, table, *rest = parts.path.split("/")
            rows = self.tables[table]
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if method == "GET":
                return 200, self._page(rows, query)
            if method == "POST":
                return self._create(rows, body, key)
            if int(rest[0]) not in rows:
                return 404, {}
            if method == "PUT":
                rows[int(rest[0])] |= {name: value for name, value in body.items() if name != "id"}
            else:
                del rows[int(rest[0])]
            return 204, None

    def _page(self, rows: dict[int, Row], query: dict[str, str]) -> Row:
        if "external" in query:
            return {"items": [row for row in rows.values() if row.get("external") == query["external"]], "next": None}
        if "after" in query:
            numbers = [number for number in sorted(rows) if number > int(query["after"])]
        else:
            numbers = sorted(rows)[int(query.get("offset", 0)) :]
        shown, more = numbers[:PAGE_ROWS], len(numbers) > PAGE_ROWS
        by_key = next(iter(rows.values()), {}).keys() <= {"id", "name"}
        following = (shown[-1] if by_key else int(query.get("offset", 0)) + PAGE_ROWS) if more else None
        return {
            "items": [rows[number] for number in shown],
            "next": None if following is None else str(following),
            "total": len(rows),
        }

    def _create(self, rows: dict[int, Row], body: Row, key: str) -> tuple[int, object]:
        if key and key in self._keys:
            return 200, self._keys[key]
        self.created += 1
        row = {"id": 1000 + self.created, **body}
        rows[1000 + self.created] = row
        if key:
            self._keys[key] = row
        return 201, row


@contextmanager
def serve(tracker: Tracker) -> Iterator[Tracker]:
    """Serve a tracker on this computer."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the client was killed between the head and the end of its request
                self.close_connection = True
                return
            if tracker.random.random() < tracker.chance:
                self.send_response(429)
                self.send_header("Retry-After", "0.01")
                self.end_headers()
                return
            status, answer = tracker.handle(
                self.command, self.path, json.loads(body or b"{}"), self.headers.get("Idempotency-Key") or ""
            )
            if tracker.random.random() < tracker.chance:
                self.close_connection = True  # the effect has happened, and nobody hears of it
                return
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the names in the standard library

        def log_message(self, format: str, *args: object) -> None:  # the name in the standard library
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    tracker.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield tracker
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
