"""A proxy on loopback between a client and a real server, which injects network faults.

    async with fault_proxy(server.endpoint_url) as proxy:
        proxy.next(LoseAnswer(), when=method("PUT"))
        ...                                             # a client of proxy.url
        assert [seen.method for seen in proxy.seen] == ["PUT", "PUT"]

Each planned fault applies once, to the next request that fits; other requests pass unchanged. The Host header is kept,
so signatures stay valid. Client connections stay open between requests, as on a server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.aws.http_messages import Head, copy_body, read_body, read_head


@dataclass(frozen=True, slots=True)
class ResetBefore:
    """The connection is reset; the server never sees the request."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The server handles the request; the answer is lost, and the connection is reset."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers with this AWS error code; the server never sees the request."""

    status: int
    code: str
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer's body ends after this many bytes, though its head announced more."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One byte in the middle of the answer's or the request's body is altered."""

    of: Literal["answer", "request"] = "answer"


@dataclass(frozen=True, slots=True)
class Delay:
    """The request reaches the server this much later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The request reaches the server without these headers (lower case)."""

    headers: frozenset[str]


Fault = ResetBefore | LoseAnswer | Answer | Truncate | Corrupt | Delay | Strip
Fits = Callable[[Head], bool]
_TURNS = 5
"""Turns of the event loop after everything is closed, until both ends of each connection have noticed."""


def always(_: Head) -> bool:
    """Fits every request."""
    return True


def method(name: str, containing: str = "") -> Fits:
    """Fits requests with this method whose target, including the query, contains a text."""
    return lambda head: head.method == name and containing in head.target


@dataclass(slots=True)
class FaultProxy:
    """The planned faults and the requests seen. Clients connect to `url`."""

    url: str
    upstream: tuple[str, int]
    seen: list[Head] = field(default_factory=list)
    planned: list[tuple[Fault, Fits]] = field(default_factory=list)
    lasting: list[tuple[Fault, Fits]] = field(default_factory=list)

    def next(self, fault: Fault, *, when: Fits = always, times: int = 1) -> None:
        """Apply this fault to the next `times` requests that fit."""
        self.planned += [(fault, when)] * times

    def every(self, fault: Fault, *, when: Fits = always) -> None:
        """Apply this fault to every request that fits, unless another one is planned for it."""
        self.lasting.append((fault, when))

    def take(self, head: Head) -> Fault | None:
        """Record the request, and return its fault."""
        self.seen.append(head)
        for index, (fault, fits) in enumerate(self.planned):
            if fits(head):
                del self.planned[index]
                return fault
        return next((fault for fault, fits in self.lasting if fits(head)), None)


@asynccontextmanager
async def fault_proxy(upstream_url: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy to the server at this address, on a free port of loopback. asyncio only."""
    parts = urlsplit(upstream_url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = FaultProxy("", (parts.hostname, parts.port))
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            await _serve(proxy, reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side closed its connection, or the test has ended
        finally:
            clients.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await server.wait_closed()
        for _ in range(_TURNS):
            await asyncio.sleep(0)


async def _serve(proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (head := await read_head(reader)) is not None:
        body = await read_body(reader, head)
        fault = proxy.take(head)
        if isinstance(fault, ResetBefore):
            return _reset(writer)
        if isinstance(fault, Answer):
            writer.write(_answer(fault, head))
            await writer.drain()
            continue
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Strip):
            head = head.without(fault.headers)
        if isinstance(fault, Corrupt) and fault.of == "request":
            body = _altered(body)
        if not await _forward(proxy, head, body, fault, writer):
            return _reset(writer) if isinstance(fault, LoseAnswer) else None
    return None


async def _forward(
    proxy: FaultProxy, head: Head, body: bytes, fault: Fault | None, writer: asyncio.StreamWriter
) -> bool:
    """Forward one request on a new connection, and the answer back. False means: close the client's connection."""
    upstream, sending = await asyncio.open_connection(*proxy.upstream)
    try:
        sending.write(head.with_body_of(len(body)).as_bytes() + body)
        await sending.drain()
        answer = await read_head(upstream)
        if answer is None:
            return False
        answer = answer.without(frozenset({"connection"}))  # it is about the connection to the server
        if isinstance(fault, LoseAnswer):
            await read_body(upstream, answer, to=head)
            return False
        writer.write(answer.as_bytes())
        if isinstance(fault, Corrupt) and fault.of == "answer":
            writer.write(_altered(await read_body(upstream, answer, to=head)))
        else:
            limit = fault.after_bytes if isinstance(fault, Truncate) else None
            if not await copy_body(upstream, writer, answer, to=head, limit=limit):
                return False
        await writer.drain()
        return not answer.ends_connection
    finally:
        sending.transport.abort()  # does not wait to send the rest of an abandoned request


def _altered(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, as a crashed machine or a firewall does."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


def _answer(fault: Answer, head: Head) -> bytes:
    if "x-amz-target" in head.headers:  # SQS speaks JSON
        kind, body = "application/x-amz-json-1.0", f'{{"__type":"{fault.code}","message":"by the proxy"}}'
    else:
        kind, body = "application/xml", f"<Error><Code>{fault.code}</Code><Message>by the proxy</Message></Error>"
    if head.method == "HEAD":
        body = ""
    lines = [
        f"HTTP/1.1 {fault.status} by the proxy",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "x-amz-request-id: proxy",
        *fault.headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
