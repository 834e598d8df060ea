"""A FakeApp over HTTP, on a thread of its own."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.testing.fake_app.collection import Object
from pipeline.testing.fake_app.response import Response

Respond = Callable[[str, str, Mapping[str, str], Object, Mapping[str, str]], Response | None]
"""Answers a request: its method, path, query, body and headers. None closes the connection without an answer."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that has gone is no error
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # what the standard library gives


@contextmanager
def serve(respond: Respond) -> Iterator[str]:
    """Serve on a free port of the loopback interface, and yield its URL."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10.0
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the client has gone between the head and the end of its request
                self.close_connection = True
                return
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            with lock:
                headers = {"Idempotency-Key": self.headers.get("Idempotency-Key") or ""}
                response = respond(self.command, unquote(parts.path), query, json.loads(body or b"{}"), headers)
            if response is None:
                self.close_connection = True
                return
            data = b"" if response.status == 204 else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in {**response.headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # the names in the standard library

        def log_message(self, format: str, *args: object) -> None:  # the name in the standard library
            return

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
