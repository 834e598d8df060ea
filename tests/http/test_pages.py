"""The dashboard over plain HTTP: it works without JavaScript, and shows what apps send as text."""

from __future__ import annotations

import html
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from pipeline.assembly.commands.move import move
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.object_keys import event_file_key
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server

PAGES = [
    "/",
    "/flows/crm",
    "/flows/crm/movements/1",
    "/flows/crm/movements/1/files?label=pet",
    "/flows/crm/files/1/pet/full/0",
    "/flows/crm/movements/1/rejected",
    "/flows/crm/log",
    "/flows/crm/mappings",
    "/flows/crm/verify",
    "/notifications",
]


async def log_in(server: Server, token: str) -> aiohttp.ClientSession:
    """Return a browser without JavaScript that has logged in."""
    client = aiohttp.ClientSession(server.url, cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with client.post("/login", data={"token": token}, headers={"Origin": server.url}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.url.path == "/"
    return client


async def read(client: aiohttp.ClientSession, path: str | URL) -> str:
    """Return a page that must be there."""
    async with client.get(path) as answer:
        assert answer.status == 200, path
        return await answer.text()


async def test_the_link_of_the_start_up_logs_in_and_leaves_no_token_in_the_address(server: Server) -> None:
    async with aiohttp.ClientSession(server.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        async with client.get(f"/?token={START_TOKEN}", allow_redirects=False) as answer:
            cookie = answer.headers["set-cookie"].lower()
            assert (answer.status, answer.headers["location"]) == (303, "/")
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
        assert ">crm</a>" in await read(client, "/")
        async with client.post("/logout") as answer:
            assert answer.url.path == "/login"
        async with client.get("/") as answer:
            assert answer.url.path == "/login"


async def test_nobody_sees_a_page_without_logging_in(server: Server) -> None:
    app = await server.token(Role.APP, "crm", Side.SOURCE)
    for path in [*PAGES, "/workers", "/tokens"]:
        async with server.client.get(f"{server.url}{path}", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (303, "/login")
    for token in ("wrong", app):
        async with server.client.post(f"{server.url}/login", data={"token": token}) as answer:
            assert answer.status == 403
            assert "not valid" in await answer.text()


async def test_pages_show_what_there_is(server: Server) -> None:
    client = await log_in(server, START_TOKEN)
    async with client:
        pages = {path: await read(client, path) for path in [*PAGES, "/workers", "/tokens"]}
    assert "SUCCESS" in pages["/"]
    assert "movement.settled" in pages["/flows/crm/movements/1"]
    assert "1/pet/full/0" in pages[PAGES[3]]
    assert "1/person/full/0" not in pages[PAGES[3]]
    for page in pages.values():
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|style=|javascript:", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


async def test_what_an_app_sends_is_text_and_nothing_else(server: Server) -> None:
    client = await log_in(server, START_TOKEN)
    async with client:
        page = await read(client, "/flows/crm/files/1/pet/full/0")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


async def test_a_page_of_an_event_file_shows_nothing_else_of_the_server_or_the_store(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key = server.site.runtime.store, event_file_key(FlowName("crm"), EventFileId.parse("1/pet/full/0"))
    (tmp_path / "local.jsonl").write_bytes((await store.get(key)).data)
    monkeypatch.chdir(tmp_path)
    async with await log_in(server, START_TOKEN) as client:
        for file in ("local.jsonl", key, "app.db", "flows/crm/flow.json"):
            async with client.get(f"/flows/crm/files/{file}") as answer:
                assert (answer.status, "not an Event File id" in await answer.text()) == (404, True), file


async def test_the_links_to_event_files_lead_there_whatever_the_name_of_the_stream(server: Server) -> None:
    with closing(sqlite3.connect(server.directory / "app.db")) as db, db:
        db.execute('CREATE TABLE "50%/ä <i>"(id INTEGER PRIMARY KEY, text)')
        db.execute('INSERT INTO "50%/ä <i>" VALUES(1, ?)', ("one\u2028record",))
    settings = Settings(home=server.directory / "home")
    await move(server.directory / "app.db", server.directory / "copy.db", flow="crm", settings=settings)
    async with await log_in(server, START_TOKEN) as client:
        found = re.findall(r'href="(/flows/crm/files/[^"]+)"', await read(client, "/flows/crm/movements/2/files"))
        page = await read(client, URL(html.unescape(found[0]), encoded=True))
        [download] = re.findall(r'href="(/api/v1/[^"]+)"', page)
        assert "1 records of 50%/ä &lt;i&gt;" in page
        assert "one\u2028record" in page
        async with client.get(URL(html.unescape(download), encoded=True)) as answer:
            assert answer.status == 200


async def test_a_page_that_is_not_there_is_a_page(server: Server) -> None:
    client = await log_in(server, START_TOKEN)
    async with client:
        for path in ("/nope", "/flows/nope", "/flows/crm/movements/99", "/flows/crm/log?movement=99"):
            async with client.get(path) as answer:
                assert (answer.status, answer.content_type) == (404, "text/html"), path


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_role_sees_and_does_what_it_may(server: Server, role: Role) -> None:
    client = await log_in(server, await server.token(role))
    async with client:
        shows = "Start a Movement" in await read(client, "/flows/crm")
        async with client.post("/flows/crm/actions", data={"verb": "start"}) as answer:
            code = answer.status
        async with client.get("/tokens") as answer:
            assert answer.status == 403
    assert (shows, code) == ((True, 200) if role is Role.OPERATOR else (False, 403))
    _, flow = await server.get("/api/v1/flows/crm")
    assert isinstance(flow, dict)
    assert flow["movements"] == (2 if role is Role.OPERATOR else 1)


async def test_a_start_is_queued_on_the_page_once(server: Server) -> None:
    client = await log_in(server, await server.token(Role.OPERATOR))
    queue = "Start another one afterwards"
    async with client:
        assert queue not in await read(client, "/flows/crm")
        await client.post("/flows/crm/actions", data={"verb": "start"})
        for path in ("/flows/crm", "/flows/crm/movements/2"):
            assert queue in await read(client, path), path
        async with client.post("/flows/crm/actions", data={"verb": "queue"}) as answer:
            assert "A new Movement begins once this one has settled." in await answer.text()
        await client.post("/flows/crm/actions", data={"verb": "queue", "sure": "yes"})
        page = await read(client, "/flows/crm")
        assert "A start is queued since" in page
        assert queue not in page


async def test_an_admin_makes_a_token_which_is_shown_once(server: Server) -> None:
    client = await log_in(server, START_TOKEN)
    async with client:
        wanted = {"name": "<b>Ada</b>", "role": "viewer", "days": "1", "flow": "", "side": ""}
        async with client.post("/tokens", data=wanted) as answer:
            found = re.search(r"plt_\w+_[\w-]+", await answer.text())
        assert found
        page = await read(client, "/tokens")
        assert "&lt;b&gt;Ada&lt;/b&gt;" in page
        assert found[0] not in page
        for wrong in ({"role": "app"}, {"role": ""}, {"side": "left"}, {"days": "inf"}, {"days": "9" * 400}):
            async with client.post("/tokens", data={**wanted, **wrong}) as answer:
                assert answer.status == 422, wrong
                assert "Role" not in re.findall(r'class="note bad"[^<]*<', await answer.text())[0]
        number = re.search(r"/tokens/(\w+)/revoke", page)
        assert number
        assert (await server.get("/api/v1/flows", found[0]))[0] == 200
        async with client.post(f"/tokens/{number[1]}/revoke") as answer:
            assert answer.status == 200
        assert (await server.get("/api/v1/flows", found[0]))[0] == 401
