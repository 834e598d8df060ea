"""A proxy on loopback that stands between a client and a real server, and does to requests what networks do.

    async with fault_proxy(server.endpoint_url) as proxy:
        proxy.next(LoseAnswer(), when=method("PUT"))
        ...                                             # a client of proxy.url
        assert [seen.method for seen in proxy.seen] == ["PUT", "PUT"]

Each fault planned meets the next request it fits, once; without one a request passes through as it is. The Host header
is left alone, so that signatures hold. It keeps client connections open between requests, as servers do.
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
    """The server handles the request; its answer is lost, and the connection is reset."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers by itself; the server never sees the request. `code` is AWS's, as S3 and SQS write it."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer's body ends after so many bytes, though its head promised all."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One byte in the middle of the body is another: the answer's, or the request's."""

    of: Literal["answer", "request"] = "answer"


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits so long before it goes on to the server."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The request goes on without these headers (lower case)."""

    headers: frozenset[str]


Fault = ResetBefore | LoseAnswer | Answer | Truncate | Corrupt | Delay | Strip
Fits = Callable[[Head], bool]
_TURNS = 5
"""So often the loop goes round after all is closed, until each end of a connection has seen that the other one is gone."""


def always(_: Head) -> bool:
    """Fits every request."""
    return True


def method(name: str, containing: str = "") -> Fits:
    """Fits requests of this method whose target, with its query, contains a text."""
    return lambda head: head.method == name and containing in head.target


@dataclass(slots=True)
class FaultProxy:
    """What is planned, and what was seen. `url` is for the client."""

    url: str
    upstream: tuple[str, int]
    seen: list[Head] = field(default_factory=list)
    planned: list[tuple[Fault, Fits]] = field(default_factory=list)
    lasting: list[tuple[Fault, Fits]] = field(default_factory=list)

    def next(self, fault: Fault, *, when: Fits = always, times: int = 1) -> None:
        """Let this fault meet the next requests that fit, so many times."""
        self.planned += [(fault, when)] * times

    def every(self, fault: Fault, *, when: Fits = always) -> None:
        """Let this fault meet every request that fits, from now on, unless one is planned for it."""
        self.lasting.append((fault, when))

    def take(self, head: Head) -> Fault | None:
        """Return the fault for this request."""
        self.seen.append(head)
        for index, (fault, fits) in enumerate(self.planned):
            if fits(head):
                del self.planned[index]
                return fault
        return next((fault for fault, fits in self.lasting if fits(head)), None)


@asynccontextmanager
async def fault_proxy(upstream_url: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of the server at this address, on a free port of loopback. asyncio only."""
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
            pass  # one side went away, or the test is over: that is what this proxy is for
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
    """Pass one request on over a connection of its own, and the answer back; False when the client is to be cut off."""
    upstream, sending = await asyncio.open_connection(*proxy.upstream)
    try:
        sending.write(head.with_body_of(len(body)).as_bytes() + body)
        await sending.drain()
        answer = await read_head(upstream)
        if answer is None:
            return False
        answer = answer.without(frozenset({"connection"}))  # it speaks of the connection to the server
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
        sending.transport.abort()  # what was not sent of a request that was given up is not waited for


def _altered(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset in place of an orderly end, as a crashed machine or a firewall does."""
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
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
