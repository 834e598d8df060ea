"""Downloads of Binary Files by signed links: whole, in parts, and when the store has not what it should."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from pipeline.domain.ids import BinaryId, FlowName
from pipeline.domain.object_keys import binary_key, packs_prefix
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.pack_writer import MIN_PACKED
from pipeline.http.links import Links
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import SilentReporter
from tests.http.conftest import Server

SMALL, LARGE = b"a small content", os.urandom(3 << 20)
FILLERS = [b"%d" % number for number in range(MIN_PACKED)]
"""So many small contents that they are stored in a pack."""


@asynccontextmanager
async def opened(content: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open a content."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    yield pieces()


async def store(server: Server, *contents: bytes) -> list[BinaryId]:
    """Store contents of the Flow, the small ones in one pack; return their ids."""
    files = BinaryFiles(server.site.runtime.store, FlowName("crm"), SilentReporter())
    ids = [await files.store(lambda content=content: opened(content)) for content in contents]  # type: ignore[misc]
    await files.flush()
    return ids


async def link(server: Server, binary: str) -> str:
    """Return a link to a content."""
    return server.url + (await Links.of(server.site)).make(FlowName("crm"), "binaries", binary)[0]


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["in a pack", "an object of its own"])
async def test_a_content_is_downloaded_whole_or_from_where_it_stopped(server: Server, content: bytes) -> None:
    id_, *_ = await store(server, content, *FILLERS)
    url = await link(server, id_)
    async with server.client.get(url) as answer:
        assert (answer.status, answer.content_length, await answer.read()) == (200, len(content), content)
    for header, part in [("bytes=5-", content[5:]), ("bytes=3-7", content[3:8]), ("bytes=-4", content[-4:])]:
        async with server.client.get(url, headers={"Range": header}) as answer:
            assert (answer.status, await answer.read()) == (206, part)
    async with server.client.get(url, headers={"Range": f"bytes={len(content)}-"}) as answer:
        assert answer.status == 416
    for header in ("bytes=0-" + "9" * 5000, "bytes=-", "lines=0-3", "bytes=0-1,3-4"):
        async with server.client.get(url, headers={"Range": header}) as answer:
            assert (answer.status, await answer.read()) == (200, content)


async def test_a_range_is_passed_over_when_it_depends_on_what_is_not_known(server: Server) -> None:
    [id_] = await store(server, LARGE)
    async with server.client.get(await link(server, id_), headers={"Range": "bytes=0-9", "If-Range": '"x"'}) as answer:
        assert (answer.status, await answer.read()) == (200, LARGE)
    async with server.client.head(await link(server, id_)) as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(LARGE)))


async def test_a_content_that_is_not_there_is_not_found(server: Server) -> None:
    for name in ("0" * 64, "nonsense"):
        async with server.client.get(await link(server, name)) as answer:
            assert answer.status == 404


async def test_a_content_that_is_damaged_never_looks_whole(server: Server) -> None:
    [id_] = await store(server, LARGE)
    await server.site.runtime.store.put(binary_key(FlowName("crm"), id_), LARGE[:-1] + b"x", PutCondition.NONE)
    async with server.client.get(await link(server, id_)) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_content_is_found_again_when_its_pack_was_replaced(server: Server) -> None:
    id_, *_ = await store(server, SMALL, *FILLERS)
    async with server.client.get(await link(server, id_)) as answer:
        assert await answer.read() == SMALL
    objects, flow = server.site.runtime.store, FlowName("crm")
    [old] = await objects.list_page(packs_prefix(flow))
    await objects.delete(old.key)
    await store(server, b"beside it", SMALL, *FILLERS)
    server.site.contents.of(flow)._packs._whole.clear()  # as if others had been read meanwhile
    with pytest.raises(aiohttp.ClientError):
        async with server.client.get(await link(server, id_)) as answer:
            await answer.read()
    async with server.client.get(await link(server, id_)) as answer:
        assert await answer.read() == SMALL
