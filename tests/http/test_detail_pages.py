"""The pages about one Flow in detail, and that of notifications, over plain HTTP."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.tokens import Role
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server, run_server
from tests.http.test_pages import log_in, read

IMPORTER = """
from pipeline.kit import Importer, Refused

importer = Importer("cloud")
objects = {}

@importer.creates("person", row=dict)
async def create(client, row, ctx):
    if row["id"] == 3:
        raise Refused("no <person> 3 here", column="name")
    await ctx.tell(f"<b>{row['name']}</b> is new")
    objects[row["id"]] = f"P-{row['id']}"
    return objects[row["id"]]

@create.find
async def find(client, row, ctx):
    return objects.get(row["id"])

@create.update
async def update(client, id_, row, ctx):
    pass

@create.delete
async def delete(client, id_, ctx):
    pass
"""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with a Flow into an Importer that has created 249 objects, told something of each, and refused one record."""
    (tmp_path / "cloud.py").write_text(IMPORTER)
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO person VALUES(?, ?)", [(number, f"person {number:03}") for number in range(250)])
    settings = Settings(home=tmp_path / "home")
    movement = await move(tmp_path / "app.db", f"{tmp_path}/cloud.py:importer", flow="crm", settings=settings)
    assert movement.totals.rejected == 1
    async with run_server(tmp_path) as running:
        yield running


async def test_rejected_records_are_shown_with_the_reason_and_found_by_it(app: Server) -> None:
    async with await log_in(app, START_TOKEN) as client:
        page = await read(client, "/flows/crm/movements/1/rejected")
        assert "no &lt;person&gt; 3 here" in page
        assert "1/person/full/0" in page
        assert "no &lt;person&gt; 3 here" in await read(client, "/flows/crm/movements/1/rejected?reason=PERSON")
        for query in ("stream=pet", "reason=something"):
            assert "There is none of this kind." in await read(client, f"/flows/crm/movements/1/rejected?{query}")


async def test_the_id_map_is_shown_by_page_and_by_id(app: Server) -> None:
    async with await log_in(app, START_TOKEN) as client:
        pages, path = [], "/flows/crm/mappings"
        while path:
            pages.append(await read(client, path))
            more = re.search(r'href="(\?kind=[^"]+)">More', pages[-1])
            path = f"/flows/crm/mappings{more[1].replace('&amp;', '&')}" if more else ""
        shown = re.findall(r'<td class="path">(P-\d+)</td>', "".join(pages))
        assert len(pages) == 3
        assert sorted(shown) == sorted(f"P-{number}" for number in range(250) if number != 3)
        assert "P-7<" in await read(client, "/flows/crm/mappings?kind=person&source=7")
        assert "The id 3 of the kind person is not known." in await read(
            client, "/flows/crm/mappings?kind=person&source=3"
        )


async def test_the_log_is_shown_by_page_as_text(app: Server) -> None:
    async with await log_in(app, START_TOKEN) as client:
        pages = [await read(client, f"/flows/crm/log?movement=1&after={after}") for after in (0, 100, 200)]
        assert sum(page.count("&lt;/b&gt; is new") for page in pages) == 249
        assert ">More<" in pages[1]
        assert ">More<" not in pages[2]


async def test_a_page_with_nothing_on_it_says_what_to_do(server: Server) -> None:
    expected = {
        "/flows/crm/mappings": "An Importer that creates objects",
        "/flows/crm/log": "ctx.tell",
        "/flows/crm/movements/1/rejected": "There is none.",
        "/notifications": "pipeline notify add",
        "/flows/crm/approvals": "requires no approval",
    }
    async with await log_in(server, START_TOKEN) as client:
        for path, text in expected.items():
            assert text in await read(client, path), path


async def test_a_comparison_shows_what_differs_and_needs_an_operator(server: Server) -> None:
    async with await log_in(server, START_TOKEN) as client:
        async with client.post("/flows/crm/verify", data={"streams": "", "against": "source"}) as answer:
            assert "The destination equals the source." in await answer.text()
        with closing(sqlite3.connect(server.directory / "copy.db")) as db, db:
            db.execute("UPDATE person SET name = 'another' WHERE id = 2")
            db.execute("DELETE FROM person WHERE id = 4")
        async with client.post("/flows/crm/verify", data={"streams": "person", "against": "source"}) as answer:
            page = await answer.text()
        assert "The destination differs: 2 keys." in page
        assert re.search(r"\[2\]</th><td>different</td><td>name</td>", page)
        assert re.search(r"\[4\]</th><td>missing</td>", page)
        assert '<th scope="row">pet</th>' not in page
    async with await log_in(server, await server.token(Role.VIEWER)) as client:
        assert "An operator may run it" in await read(client, "/flows/crm/verify")
        async with client.post("/flows/crm/verify", data={}) as answer:
            assert answer.status == 403


WAITING = """
from pipeline.kit import Importer

importer = Importer("cloud")
objects = {}

@importer.creates("person", row=dict)
async def create(client, row, ctx):
    await ctx.ids.need("person", row["id"] % 2 * 999 or row["id"] - 1)

@create.find
async def find(client, row, ctx):
    return None

@importer.dump
async def dump(client):
    for _ in range(0):
        yield
"""


async def test_a_comparison_with_an_app_shows_what_waits_and_what_nobody_takes(tmp_path: Path) -> None:
    (tmp_path / "cloud.py").write_text(WAITING)
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        for table in ("person", "pet"):
            db.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY)")
            db.execute(f"INSERT INTO {table} VALUES (1), (2)")
    await move(
        tmp_path / "app.db", f"{tmp_path}/cloud.py:importer", flow="crm", settings=Settings(home=tmp_path / "home")
    )
    async with (
        run_server(tmp_path) as app,
        await log_in(app, START_TOKEN) as client,
        client.post("/flows/crm/verify", data={"streams": "", "against": "source"}) as answer,
    ):
        page = await answer.text()
    assert "2 records wait for the id of another record: <code>pipeline rejected crm</code>." in page
    assert '<th scope="col" class="number">Waiting</th><th scope="col" class="number">Twice</th>' in page
    assert re.search(r"\[1\]</th><td>waiting</td><td></td><td>it waits for the new id of person &#39;999&#39;", page)
    assert "Not handled by the Importer, and not compared: pet" in page


async def test_a_comparison_with_something_else_is_refused_with_what_there_is(server: Server) -> None:
    async with (
        await log_in(server, START_TOKEN) as client,
        client.post("/flows/crm/verify", data={"against": "foo"}) as answer,
    ):
        assert answer.status == 422
        assert "source or stored" in await answer.text()


async def test_endpoints_are_shown_disabled_and_enabled(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    settings = Settings(home=server.directory / "home")
    endpoint = Endpoint("ops", "https://203.0.113.9/hook", datetime.now(UTC), allow_private=("203.0.113.0/24",))
    await add_endpoint(endpoint, "env:HOOK_SECRET", settings=settings)
    async with await log_in(server, START_TOKEN) as client:
        page = await read(client, "/notifications")
        assert "working" in page
        assert "https://203.0.113.9/hook" in page
        assert "HOOK_SECRET" not in page
        for do, text in (("disable", "ops is disabled."), ("enable", "ops is enabled")):
            async with client.post("/notifications", data={"endpoint": "ops", "do": do}) as answer:
                assert text in await answer.text()
        async with client.post("/notifications", data={"endpoint": "none", "do": "test"}) as answer:
            assert answer.status == 404
    async with await log_in(server, await server.token(Role.VIEWER)) as client:
        assert "Disable" not in await read(client, "/notifications")
        async with client.post("/notifications", data={"endpoint": "ops", "do": "disable"}) as answer:
            assert answer.status == 403


async def test_a_movement_nobody_works_on_says_so_and_has_what_is_done_so_far(server: Server) -> None:
    await start("crm", settings=Settings(home=server.directory / "home"))
    async with await log_in(server, START_TOKEN) as client:
        page = await read(client, "/flows/crm/movements/2")
    assert "READY" in page
    assert re.search(r"Records so far</dt><dd>0 read, 0 imported", page)
    assert "It waits for a worker." in page


async def test_a_destination_that_the_first_movement_has_yet_to_create_is_no_problem(server: Server) -> None:
    settings = Settings(home=server.directory / "home")
    await create_flow("new", server.directory / "app.db", server.directory / "none.db", settings=settings)
    await start("new", settings=settings)
    async with await log_in(server, START_TOKEN) as client:
        page = await read(client, "/flows/new/movements/1")
    assert ("No group is complete yet." in page, "is not known" in page) == (True, False)


async def test_a_page_asks_for_its_live_part_alone(server: Server) -> None:
    async with await log_in(server, START_TOKEN) as client:
        for path in ("/", "/flows/crm", "/flows/crm/movements/1", "/workers"):
            whole = await read(client, path)
            part = await ask(client, path)
            assert part.strip().startswith('<div id="live"')
            assert "<html" not in part
            assert len(part) < len(whole)
            lines = part.strip().splitlines()[1:-1]  # the first line says when to ask again
            assert lines == whole[whole.index('<div id="live"') :].splitlines()[1 : len(lines) + 1]


async def test_the_live_part_of_a_flow_with_an_encoded_name_is_asked_for_at_its_own_path(server: Server) -> None:
    settings = Settings(home=server.directory / "home")
    async with await log_in(server, START_TOKEN) as client:
        for name, path in (("a/b", "/flows/a%252Fb"), ("ä c?", "/flows/%25C3%25A4%2520c%253F")):
            await move(server.directory / "app.db", server.directory / "other.db", flow=name, settings=settings)
            found = re.search(r'data-hx-get="([^"]+)"', await read(client, URL(path, encoded=True)))
            assert found
            assert found[1] == path
            assert "Records of one Movement" in await ask(client, URL(found[1], encoded=True))


async def ask(client: aiohttp.ClientSession, path: str | URL) -> str:
    async with client.get(path, headers={"HX-Request": "true"}) as answer:
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        return await answer.text()


async def test_a_look_is_answered_with_no_other_page(server: Server) -> None:
    """A page that follows what happens would take the title of the other page, and keep its own content."""
    look = {"HX-Request": "true"}
    async with server.client.get(f"{server.url}/flows/crm", headers=look, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["hx-refresh"], await answer.text()) == (401, "true", "")
    async with await log_in(server, START_TOKEN) as client, client.get("/flows/nope", headers=look) as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
