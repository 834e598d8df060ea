"""A Flow with an app on one side: a server, a worker, and the app as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import anyio

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.workers import run_worker, wait_settled
from pipeline.domain.movement import Movement
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import Server, run_server

APPS = Path(__file__).parent / "apps"
NODE = shutil.which("node")
FAST: dict[str, Any] = {"progress_seconds": 0.2, "sweep_seconds": 1.0}


@asynccontextmanager
async def working(
    directory: Path, source: str, destination: str, *, event_file_rows: int = 100, **options: Any
) -> AsyncIterator[tuple[Server, Settings]]:
    """Run a server with these options, and a worker beside it, for the Flow `crm`.

    Names without a scheme are files in the directory.
    """
    settings = Settings(home=directory / "home", event_file_rows=event_file_rows, **FAST)
    stop = anyio.Event()
    places = [place if "://" in place else directory / place for place in (source, destination)]
    async with run_server(directory, **options) as server:
        await create_flow("crm", places[0], places[1], settings=settings)
        worker = asyncio.create_task(run_worker(settings=settings, stop=stop))
        try:
            yield server, settings
        finally:
            stop.set()
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


async def begin(settings: Settings) -> int:
    """Start a Movement, and return its number."""
    movement, _ = await start("crm", settings=settings, allow_deletes=["*"])
    return movement.number


async def run_app(server: Server, name: str, data: str, *, kill_after: float | None = None) -> int | None:
    """Run an app to the end of a Movement, and return its number; or kill it."""
    side = Side.SOURCE if name.startswith("exporter") else Side.DESTINATION
    token = await server.token(Role.APP, "crm", side)
    language = sys.executable if name.endswith(".py") else NODE
    assert language is not None
    process = await asyncio.create_subprocess_exec(
        language,
        str(APPS / name),
        server.url,
        "crm",
        str(server.directory / data),
        env={**os.environ, "PIPELINE_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if kill_after is not None:
        await asyncio.sleep(kill_after)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
    out, err = await process.communicate()
    assert kill_after is not None or process.returncode == 0, err.decode()[-2000:]
    return json.loads(out.splitlines()[-1])["movement"] if process.returncode == 0 else None


async def settled(settings: Settings, number: int) -> Movement:
    """Return a Movement as soon as it has settled."""
    with anyio.fail_after(60):
        return await wait_settled("crm", number, settings=settings)


def rows(path: Path, table: str) -> list[Any]:
    """Return the rows of a table."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT id, name FROM {table} ORDER BY id").fetchall()


def change(path: Path, *statements: str) -> None:
    """Change the app's data."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
