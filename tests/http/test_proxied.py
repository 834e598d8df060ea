"""A server behind a proxy, below a path: every link, form, redirect, cookie, stream and signed link works there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web

from pipeline.assembly.commands.move import move
from pipeline.http.server import bind
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server, create_app, run_server

ROOT = "/pipeline"
LINK = re.compile(r'(?:href|src|action|data-hx-get)="([^"#]+)"')


@dataclass
class Proxy:
    """A proxy at `origin`, which serves the server below `ROOT`, and calls it by its address. It may take the path off."""

    origin: str
    keeps: bool
    server: Server | None = None

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Send a request on, with another `Host`, and its answer back as it comes."""
        assert self.server is not None
        path = request.raw_path if self.keeps else request.raw_path.removeprefix(ROOT)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:
            url = f"{self.server.url}{path}"
            body = await request.read()
            async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
                sent = web.StreamResponse(status=answer.status, headers=answer.headers)
                await sent.prepare(request)
                async for piece in answer.content.iter_any():
                    await sent.write(piece)
                return sent


@asynccontextmanager
async def proxied(directory: Path, *, keeps: bool) -> AsyncIterator[tuple[Proxy, aiohttp.ClientSession]]:
    """Run a server with a Flow that has been moved, and a proxy in front; and a browser of the proxy."""
    create_app(directory / "app.db")
    await move(directory / "app.db", directory / "copy.db", flow="crm", settings=Settings(home=directory / "home"))
    listening = bind("127.0.0.1", 0)
    proxy = Proxy(f"http://127.0.0.1:{listening.getsockname()[1]}", keeps)
    front = web.Application()
    front.router.add_route("*", ROOT + "/{tail:.*}", proxy.forward)
    runner = web.AppRunner(front)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            run_server(directory, public_url=f"{proxy.origin}{ROOT}") as server,
            aiohttp.ClientSession(cookie_jar=jar) as browser,
        ):
            proxy.server = server
            yield proxy, browser
    finally:
        await runner.cleanup()


@pytest.fixture(params=["path kept", "path taken off"])
async def behind(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Proxy, aiohttp.ClientSession]]:
    """A proxy, and a browser that has logged in through it."""
    async with proxied(tmp_path, keeps=request.param == "path kept") as (proxy, browser):
        form = {"token": START_TOKEN}
        url = f"{proxy.origin}{ROOT}/login"
        async with browser.post(url, data=form, headers={"Origin": proxy.origin}) as answer:
            assert (answer.status, str(answer.url)) == (200, f"{proxy.origin}{ROOT}/")
        yield proxy, browser


@pytest.mark.parametrize("behind", ["path kept"], indirect=True)
async def test_every_link_of_every_page_leads_to_a_page(behind: tuple[Proxy, aiohttp.ClientSession]) -> None:
    proxy, browser = behind
    waiting, seen = [f"{proxy.origin}{ROOT}/"], set[str]()
    while waiting:
        url = waiting.pop()
        async with browser.get(url) as answer:
            assert answer.status == 200, url
            text = await answer.text() if answer.content_type == "text/html" else ""
        for link in LINK.findall(text):
            assert link.startswith(("data:", "?", f"{ROOT}/")), (url, link)
            found = urljoin(url, unescape(link))
            if found not in seen and link.startswith(ROOT) and not found.endswith(("/actions", "/logout", "/revoke")):
                seen.add(found)
                waiting.append(found)
    pages = {found.removeprefix(proxy.origin) for found in seen}
    assert {f"{ROOT}/flows/crm", f"{ROOT}/flows/crm/movements/1", f"{ROOT}/static/pipeline.css"} <= pages


async def test_a_form_leads_back_and_the_cookie_is_of_the_path(behind: tuple[Proxy, aiohttp.ClientSession]) -> None:
    proxy, browser = behind
    assert [cookie["path"] for cookie in browser.cookie_jar] == [f"{ROOT}/"]
    form = {"verb": "start", "sure": "yes"}
    url, own = f"{proxy.origin}{ROOT}/flows/crm/actions", {"Origin": proxy.origin}
    async with browser.post(url, data=form, headers=own) as answer:
        assert (answer.status, str(answer.url)) == (200, f"{proxy.origin}{ROOT}/flows/crm"), await answer.text()
    async with browser.post(url, data=form, headers={"Origin": "http://evil.example"}) as answer:
        assert answer.status == 403
    async with browser.post(f"{proxy.origin}{ROOT}/logout", headers=own) as answer:
        assert str(answer.url) == f"{proxy.origin}{ROOT}/login"
    assert not list(browser.cookie_jar)


async def test_streams_and_the_document_work_and_signed_links_have_the_path(
    behind: tuple[Proxy, aiohttp.ClientSession],
) -> None:
    proxy, browser = behind
    api = f"{proxy.origin}{ROOT}/api/v1"
    async with browser.get(f"{api}/flows/crm/events/stream", headers={"Last-Event-ID": "none"}) as answer:
        assert answer.status == 200
        assert (await answer.content.readuntil(b"\n\n")).startswith(b"retry:")
        assert b"event: " in await answer.content.readuntil(b"\n\n")
    async with browser.get(f"{api}/openapi.json") as answer:
        assert (await answer.json())["servers"] == [{"url": ROOT}]
    assert proxy.server is not None
    token = {"Authorization": f"Bearer {await proxy.server.token(Role.APP, 'crm', Side.DESTINATION)}"}
    async with browser.get(f"{api}/apps/crm/import/1/groups/person/files", headers=token) as answer:
        [file] = (await answer.json())["items"]
    async with browser.get(urljoin(proxy.origin, file["url"])) as answer:
        assert (answer.status, len(await answer.read())) == (200, file["size"])
