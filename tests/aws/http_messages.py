"""The part of HTTP/1.1 that a test proxy needs: heads, and bodies by length, in chunks, or up to the connection's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

_NO_BODY = {204, 304}


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a request or an answer; names are in lower case."""

    first: str
    headers: dict[str, str]

    @property
    def method(self) -> str:
        """A request's method."""
        return self.first.split()[0]

    @property
    def target(self) -> str:
        """A request's path and query."""
        return self.first.split()[1]

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.first.split()[1])

    @property
    def ends_connection(self) -> bool:
        """Whether this answer is the last on its connection."""
        says = self.headers.get("connection", "").lower()
        return says == "close" or (self.status not in _NO_BODY and _is_open_ended(self))

    def without(self, names: frozenset[str]) -> Head:
        """Return the head without these headers."""
        return replace(self, headers={name: value for name, value in self.headers.items() if name not in names})

    def with_body_of(self, length: int) -> Head:
        """Return the head for a body of this length on a connection of its own."""
        headers = self.without(frozenset({"transfer-encoding", "connection", "expect"})).headers
        return replace(self, headers=headers | {"content-length": str(length), "connection": "close"})

    def as_bytes(self) -> bytes:
        """Return the bytes on the wire."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_open_ended(head: Head) -> bool:
    return "content-length" not in head.headers and "transfer-encoding" not in head.headers


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next head; None at the end of the connection."""
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = data.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(first, {name.strip().lower(): value.strip() for name, _, value in pairs})


async def read_body(reader: asyncio.StreamReader, head: Head, *, to: Head | None = None) -> bytes:
    """Return the body after `head`, without chunk headers. `to` is the request that it answers."""
    if _has_none(head, to):
        return b""
    if "chunked" in head.headers.get("transfer-encoding", ""):
        return b"".join([chunk async for chunk in _chunks(reader)])
    if "content-length" in head.headers:
        return await reader.readexactly(int(head.headers["content-length"]))
    return await reader.read() if to is not None else b""


async def copy_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, *, to: Head, limit: int | None
) -> bool:
    """Copy the body of an answer, at most `limit` bytes; return whether that was all of it."""
    if _has_none(head, to):
        return True
    length = int(head.headers.get("content-length", -1))
    if length < 0:
        return await _copy_open_ended(reader, writer, head, limit)
    left = length if limit is None else min(limit, length)
    while left and (data := await reader.read(min(left, 65_536))):
        writer.write(data)
        await writer.drain()
        left -= len(data)
    return limit is None or limit >= length


async def _copy_open_ended(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, limit: int | None
) -> bool:
    """Copy chunks, or everything up to the end. (The server's connection is closed after one answer.)"""
    data = await reader.read()
    writer.write(data[:limit])
    await writer.drain()
    return "transfer-encoding" in head.headers and (limit is None or limit >= len(data))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


def _has_none(head: Head, to: Head | None) -> bool:
    return to is not None and (to.method == "HEAD" or head.status in _NO_BODY)
