"""A server on a socket, in the loop of the test, over the directory store of a Flow that has been moved."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import anyio
import pytest

from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.observation.fleet import FleetGauges
from pipeline.assembly.metering.meter import create_meter
from pipeline.assembly.runtime import share_runtime
from pipeline.http.server import bind, serve
from pipeline.http.site import Limits, OidcAuth, PlatformProfile, ProxyAuth, Site
from pipeline.http.tokens import Role, Side, TokenStore
from pipeline.settings import Settings
from pipeline.testing.simulated.clock import ManualClock

START_TOKEN = "start"


@dataclass
class Server:
    """A server that runs, and a client of it."""

    url: str
    site: Site
    client: aiohttp.ClientSession
    clock: ManualClock
    directory: Path
    stop: anyio.Event

    async def get(self, path: str, token: str | None = START_TOKEN, **options: object) -> tuple[int, object]:
        """Return the status and the JSON of an answer."""
        return await self.request("GET", path, token, **options)

    async def request(
        self, method: str, path: str, token: str | None = START_TOKEN, **options: object
    ) -> tuple[int, object]:
        """Return the status and the JSON of an answer."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}  # type: ignore[dict-item]
        async with self.client.request(method, f"{self.url}{path}", headers=headers, **options) as answer:  # type: ignore[arg-type]
            return answer.status, await answer.json(content_type=None)

    async def token(self, role: Role, flow: str = "", side: Side | None = None, scopes: Sequence[str] = ()) -> str:
        """Return the text of a new token, which is valid for a day."""
        _, text = await self.site.tokens.create(
            role, f"a {role}", by="test", life=timedelta(days=1), flow=flow, side=side, scopes=scopes
        )
        return text

    async def app_token(self, flow: str, side: Side = Side.DESTINATION) -> str:
        """Return the text of a new token of the app of one side."""
        return await self.token(Role.APP, flow, side)


@asynccontextmanager
async def run_server(
    directory: Path,
    *,
    limits: Limits | None = None,
    proxy: ProxyAuth | None = None,
    oidc: OidcAuth | None = None,
    platform: PlatformProfile | None = None,
    public_url: str = "",
) -> AsyncIterator[Server]:
    """Run a server over the home directory `directory`/home, in a task of its own."""
    stop, clock, ready = anyio.Event(), ManualClock(), asyncio.Future[Site]()
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]

    async def run() -> None:
        settings, own = Settings(home=directory / "home"), f"http://127.0.0.1:{port}"
        meter = create_meter(settings, is_server=True)
        async with share_runtime(settings, meter) as runtime:
            site = Site(
                runtime,
                TokenStore(runtime.store, runtime.flows, clock),
                clock,
                START_TOKEN,
                limits=limits or Limits(),
                proxy=proxy,
                fleet=FleetGauges(runtime, meter.metrics),
                platform=platform,
                oidc=oidc,
                public_url=public_url or own,
            )
            ready.set_result(site)
            await serve(site, listening, stop)

    await anyio.Path(directory).mkdir(exist_ok=True)
    task = asyncio.create_task(run())
    try:
        async with aiohttp.ClientSession() as client:
            yield Server(f"http://127.0.0.1:{port}", await ready, client, clock, directory, stop)
    finally:
        stop.set()
        await task


def create_app(path: Path, rows: int = 5) -> None:
    """Create an app's database with two tables."""
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        db.execute("CREATE TABLE pet(id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO person VALUES(?, ?)", [(number, f"person {number}") for number in range(rows)])
        db.execute("INSERT INTO pet VALUES(1, '<script>alert(1)</script>')")
    db.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with the Flow `crm`, which has been moved once."""
    create_app(tmp_path / "app.db")
    settings = Settings(home=tmp_path / "home")
    await move(tmp_path / "app.db", tmp_path / "copy.db", flow="crm", settings=settings)
    async with run_server(tmp_path, limits=replace(Limits(), body_bytes=10_000, silent_seconds=0.5)) as running:
        yield running
