"""A service that is pushed to: it is killed, refuses, asks to wait, is ahead, and lies."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from pipeline.assembly.commands.move import move
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.movement import Movement, Status
from pipeline.settings import Settings
from tests.http.conftest import create_app
from tests.http.flows import APPS, change, rows

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@asynccontextmanager
async def receiver(
    path: Path, secret: str = SECRET, port: int = 0
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run the service of the app as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(APPS / "receiver.py"),
        str(path),
        str(port),
        env={**os.environ, "RECEIVER_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def run(directory: Path, url: str) -> Movement:
    """Move the app's database to a service."""
    settings = Settings(home=directory / "home", event_file_rows=3000)
    return await move(directory / "app.db", url, flow="crm", allow_deletes=["*"], settings=settings)


@pytest.mark.parametrize("path", ["/", "/apps/crm/import/"])
async def test_records_are_pushed_and_then_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PUSH_SECRET", SECRET)
    create_app(tmp_path / "app.db", rows=7000)
    async with receiver(tmp_path / "cloud.db") as (url, _):
        place = f"{url}{path}?secret=env:PUSH_SECRET"
        movement = await run(tmp_path, place)
        assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 7001), movement.problems
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")
        change(
            tmp_path / "app.db", "DELETE FROM person WHERE id < 500", "UPDATE person SET name = 'new' WHERE id = 700"
        )
        movement = await run(tmp_path, place)
        assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 500)
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "home").rglob("*") if p.is_file())


async def test_a_refused_record_is_named_and_tried_again(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    change(tmp_path / "app.db", "UPDATE person SET name = 'refuse me' WHERE id = 3")
    async with receiver(tmp_path / "cloud.db", "") as (url, _):
        movement = await run(tmp_path, url)
        assert (movement.status, movement.totals.rejected) == (Status.INCOMPLETE, 1)
        assert (await run(tmp_path, url)).status is Status.INCOMPLETE
        change(tmp_path / "app.db", "UPDATE person SET name = 'welcome' WHERE id = 3")
        movement = await run(tmp_path, url)
        assert movement.status is Status.SUCCESS, movement.problems
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")


async def test_a_service_that_does_not_know_us_ends_the_movement(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with receiver(tmp_path / "cloud.db") as (url, _):
        movement = await run(tmp_path, url)
    assert movement.status is Status.FAILED
    assert "401" in str(movement.problems)
    assert "signature is not valid" in str(movement.problems)


@dataclass
class Unkind:
    """A service that answers as a test wants, and remembers what it was asked."""

    answer: Callable[[str, Any, int], tuple[int, Any, dict[str, str]]]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request."""
        body = await request.read()
        what = request.path.rpartition("/")[2]
        self.asked.append((what, dict(request.headers), body))
        status, document, headers = self.answer(what, body, sum(one[0] == what for one in self.asked))
        return web.Response(status=status, body=orjson.dumps(document), headers=headers)


@asynccontextmanager
async def unkind(service: Unkind) -> AsyncIterator[str]:
    """Run a service in the test's loop."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{what:.*}", service.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/in"  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("until", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_service_that_asks_to_wait_is_waited_for(tmp_path: Path, until: str) -> None:
    create_app(tmp_path / "app.db")
    service = Unkind(lambda what, body, time: (429, {}, {"Retry-After": until}) if time < 8 else (200, {}, {}))
    async with unkind(service) as url:
        assert (await run(tmp_path, url)).status is Status.SUCCESS
    batches = [headers["Idempotency-Key"] for what, headers, _ in service.asked if what == "batch"]
    assert len(set(batches)) == 2  # one for each file, the same at each try
    assert len(batches) == 9


async def test_the_answer_to_an_end_may_be_anything(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=4)
    service = Unkind(lambda what, body, time: (200, ["taken"] if what == "end" else {}, {}))
    async with unkind(service) as url:
        assert (await run(tmp_path, url)).status is Status.SUCCESS


async def test_what_a_service_has_is_not_sent_again(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=4)

    def answer(what: str, body: bytes, _time: int) -> tuple[int, dict[str, Any], dict[str, str]]:
        if what == "begin":
            return 200, {"have": 3 if orjson.loads(body)["stream"] == "person" else "mark"}, {}
        return 200, {}, {}

    service = Unkind(answer)
    async with unkind(service) as url:
        assert (await run(tmp_path, url)).status is Status.SUCCESS
    [batch] = [(headers, body) for what, headers, body in service.asked if what == "batch"]
    assert (batch[0]["Pipeline-Offset"], orjson.loads(batch[1])["upsert"]["id"]) == ("3", 3)


async def test_what_was_refused_before_an_attempt_broke_off_is_not_forgotten(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=6000)
    broken = [True]

    def answer(what: str, body: bytes, _time: int) -> tuple[int, dict[str, Any], dict[str, str]]:
        if what == "begin":
            return 200, {"have": "nothing" if broken[0] or orjson.loads(body)["stream"] == "pet" else 5000}, {}
        if what == "retry":
            return 404, {}, {}
        if what == "end":
            return 200, {}, {}
        document = orjson.loads(body.split(b"\n")[0])
        if document["upsert"]["id"] == 5000 and broken[0]:
            return 400, {"detail": "out of order"}, {}
        if document["upsert"]["id"] == 0:
            return 200, {"refused": [{"line": 9, "reason": "not here"}]}, {}
        return 200, {}, {}

    settings = Settings(home=tmp_path / "home")
    async with unkind(Unkind(answer)) as url:
        movement = await move(tmp_path / "app.db", url, flow="crm", settings=settings)
        assert movement.totals.files_failed == 1
        broken[0] = False
        movement = await move(tmp_path / "app.db", url, flow="crm", settings=settings)
    assert (movement.status, movement.totals.rejected, movement.totals.upserts) == (Status.INCOMPLETE, 1, 5999)


async def test_a_long_answer_is_read_as_a_whole(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=4000)
    refused = [{"line": line, "reason": "no " * 50} for line in range(2, 4002)]

    def answer(what: str, body: bytes, _time: int) -> tuple[int, dict[str, Any], dict[str, str]]:
        batch = {"refused": refused[: body.count(b"\n")]} if what == "batch" else {}
        return 404 if what == "retry" else 200, batch, {}

    service = Unkind(answer)
    async with unkind(service) as url:
        movement = await move(tmp_path / "app.db", url, flow="crm", settings=Settings(home=tmp_path / "home"))
    assert (movement.status, movement.totals.rejected) == (Status.INCOMPLETE, 4001)


@pytest.mark.parametrize(
    ("what", "status", "document", "word"),
    [
        ("begin", 409, {"detail": "epoch 9 is newer"}, "epoch 9 is newer"),
        ("begin", 302, {}, "302"),
        ("begin", 200, {"have": "perhaps"}, "perhaps"),
        ("begin", 200, {"have": 6}, "number of records up to 5"),
        ("begin", 200, {"have": -1}, "number of records up to 5"),
        ("batch", 400, {"detail": "no such table"}, "no such table"),
        ("batch", 200, {"refused": [{"line": 99, "reason": "x"}]}, "line 99"),
        ("batch", 200, {"refused": [{"reason": "x"}]}, "line"),
    ],
)
async def test_an_answer_that_is_no_good_fails_the_file_by_name(
    tmp_path: Path, what: str, status: int, document: dict[str, Any], word: str
) -> None:
    create_app(tmp_path / "app.db")
    service = Unkind(lambda asked, body, time: (status, document, {}) if asked == what else (200, {}, {}))
    async with unkind(service) as url:
        movement = await run(tmp_path, url)
    assert movement.status is Status.FAILED
    assert word in str(movement.problems)


async def test_a_secret_in_plain_is_refused_before_anything_moves(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    for place in ("https://x.example/?token=abc", "https://user:pw@x.example/", "https://"):
        with pytest.raises(ConfigurationError) as caught:
            await run(tmp_path, place)
        assert "abc" not in str(caught.value)
        assert "pw@" not in str(caught.value)


@pytest.mark.slow
async def test_killed_on_both_sides_everything_arrives_once(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=30_000)
    command = [sys.executable, "-m", "pipeline", "move", "app.db", "", "--flow", "crm"]
    port, kill_next = 0, False
    for attempt in range(12):
        async with receiver(tmp_path / "cloud.db", "", port) as (url, process):
            port, command[5] = int(url.rpartition(":")[2]), url
            mover = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            if attempt < 10:
                await asyncio.sleep(0.4 + attempt * 0.15)
                with suppress(ProcessLookupError):
                    (process if kill_next else mover).send_signal(signal.SIGKILL)
                kill_next = not kill_next
                if not kill_next:
                    with suppress(ProcessLookupError):
                        mover.send_signal(signal.SIGKILL)
            code = await mover.wait()
    assert code == 0
    assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")
