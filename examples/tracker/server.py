"""A tracker over real HTTP: pages, a feed of changes, files, idempotency keys, rate limits, and answers that are lost."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Row = dict[str, object]
PAGE_ROWS = 7


@dataclass
class Tracker:
    """The state of a tracker. `chance` is that of an answer that is lost, after the effect, or a request to wait.

    The `file` of an issue is the id of its content in `files`. `created` counts objects, `read` the contents that were sent.
    """

    chance: float = 0.0
    seed: int = 0
    tables: dict[str, dict[int, Row]] = field(default_factory=lambda: {"projects": {}, "issues": {}})
    files: dict[str, bytes] = field(default_factory=dict)
    created: int = 0
    read: int = 0
    url: str = ""
    _changed: list[int] = field(default_factory=list)
    _keys: dict[tuple[str, str], Row] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def put(self, table: str, number: int, **row: object) -> None:
        """Set an object, as a user of the tracker does it."""
        with self._lock:
            self.tables[table][number] = {"id": number, **row}
            self._note(table, number)

    def remove(self, table: str, number: int) -> None:
        """Delete an object."""
        with self._lock:
            del self.tables[table][number]
            self._note(table, number)

    def attach(self, content: bytes) -> str:
        """Add a content, and return its id."""
        self.files[f"file-{len(self.files)}"] = content
        return f"file-{len(self.files) - 1}"

    def handle(self, method: str, path: str, body: bytes, key: str) -> tuple[int, object]:
        """Return the status and the answer of a request."""
        with self._lock:
            parts = urlsplit(path)
            _, kind, *rest = parts.path.split("/")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            match method, kind:
                case "GET", "changes":
                    return 200, self._changes(int(query.get("since", 0)))
                case "GET", "files":
                    self.read += 1
                    return 200, self.files[rest[0]]
                case "GET", _:
                    return 200, self._page(kind, query)
                case "POST", _:
                    return self._create(kind, body, key)
            return self._change(method, kind, int(rest[0]), body)

    def _page(self, table: str, query: dict[str, str]) -> Row:
        rows = self.tables[table]
        if "external" in query:
            found = [row for row in rows.values() if row.get("external") == int(query["external"])]
            return {"items": found, "next": None}
        if table == "projects":  # by key
            numbers = [number for number in sorted(rows) if number > int(query.get("after", 0))]
            following = numbers[PAGE_ROWS - 1] if len(numbers) > PAGE_ROWS else None
        else:  # by offset
            start = int(query.get("offset", 0))
            numbers = sorted(rows)[start:]
            following = start + PAGE_ROWS if len(numbers) > PAGE_ROWS else None
        items = [self._shown(rows[number]) for number in numbers[:PAGE_ROWS]]
        return {"items": items, "next": None if following is None else str(following), "total": len(rows)}

    def _changes(self, since: int) -> Row:
        numbers = self._changed[since : since + PAGE_ROWS]
        issues, end = self.tables["issues"], since + len(numbers)
        return {
            "issues": [self._shown(issues[number]) for number in dict.fromkeys(numbers) if number in issues],
            "gone": [number for number in dict.fromkeys(numbers) if number not in issues],
            "cursor": str(end),
            "more": end < len(self._changed),
        }

    def _shown(self, row: Row) -> Row:
        file = row.get("file")
        return row if "file" not in row else {**row, "file": file and {"id": file, "version": file}}

    def _create(self, kind: str, body: bytes, key: str) -> tuple[int, object]:
        if key and (kind, key) in self._keys:
            return 200, self._keys[kind, key]
        if kind == "files":
            made: Row = {"id": self.attach(body)}
        else:
            self.created += 1
            made = {"id": 1000 + self.created, **json.loads(body)}
            self.tables[kind][1000 + self.created] = made
            self._note(kind, 1000 + self.created)
        if key:
            self._keys[kind, key] = made
        return 201, made

    def _change(self, method: str, kind: str, number: int, body: bytes) -> tuple[int, object]:
        rows = self.tables[kind]
        if number not in rows:
            return 404, {}
        if method == "PUT":
            rows[number] |= json.loads(body)
        else:
            del rows[number]
        self._note(kind, number)
        return 204, None

    def _note(self, table: str, number: int) -> None:
        if table == "issues":
            self._changed.append(number)


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
            status, answer = tracker.handle(self.command, self.path, body, self.headers.get("Idempotency-Key") or "")
            if tracker.random.random() < tracker.chance:
                self.close_connection = True  # the effect has happened, and nobody hears of it
                return
            data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
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
