"""The verbs over HTTP: they do what the commands do, once, and name what is legal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.assembly.commands.declared.remove import remove_flow
from pipeline.assembly.commands.flows import create_flow
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Movement, Status
from pipeline.http.api import idempotency, verbs
from pipeline.http.api.actions import ActionRequest
from pipeline.http.api.idempotency import REQUESTS
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site
from pipeline.http.tokens import Identity, Role
from pipeline.settings import Settings
from tests.http.conftest import Server, create_app, run_server
from tests.http.flows import FAST, begin, rows, settled, working


async def act(server: Server, verb: str, token: str | None = None, **body: object) -> tuple[int, Any]:
    """Do a verb."""
    options: dict[str, Any] = {"headers": body.pop("headers")} if "headers" in body else {}
    token = token or await server.token(Role.OPERATOR)
    return await server.request("POST", f"/api/v1/flows/crm/actions/{verb}", token, json=body, **options)


async def cancelled(server: Server, settings: Settings, number: int) -> Movement:
    """Return a Movement that is to stop as soon as it has settled; the app gives up what it may have in hand by then."""
    path = f"/api/v1/apps/crm/import/{number}/settle"
    await server.request("POST", path, await server.app_token("crm"), json={"status": "INCOMPLETE"})
    return await settled(settings, number)


async def read_flow(server: Server) -> Any:
    """Return the document of the Flow."""
    return (await server.get("/api/v1/flows/crm"))[1]


async def once(
    site: Site, who: Identity, name: str, asked: str, do: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Do a request about the Flow once."""
    return await idempotency.once(site, who, name, await site.runtime.flows.read_flow(FlowName("crm")), asked, do)


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[tuple[Server, Settings]]:
    """A server and a worker, with a Flow into an app that takes nothing by itself."""
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "app://cloud") as running:
        yield running


async def test_a_movement_is_started_and_comes_to_its_end(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "copy.db") as (server, settings):
        status, found = await act(server, "start")
        assert (status, found["movement"]) == (200, 1)
        assert (await settled(settings, 1)).status is Status.SUCCESS
        assert rows(tmp_path / "copy.db", "person") == rows(tmp_path / "app.db", "person")
        status, problem = await act(server, "pause")
        assert (status, problem["status"], "start" in problem["legal"]) == (409, 409, True)
        assert "is SUCCESS, which is final" in problem["detail"]


async def test_a_movement_is_paused_resumed_and_stopped(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    settings = Settings(home=tmp_path / "home", **FAST)
    async with run_server(tmp_path) as server:  # no worker has anything in hand
        await create_flow("crm", tmp_path / "app.db", tmp_path / "copy.db", settings=settings)
        number = await begin(settings)
        status, found = await act(server, "pause", reason="the night begins", until=None)
        assert (status, found["wish"]["want"], found["wish"]["why"]) == (200, "pause", "the night begins")
        assert (found["wish"]["who"], found["status"]) == ("a operator", "PAUSED")
        assert "because: the night begins" in found["sentence"]
        assert (await act(server, "pause"))[0] == 200
        status, found = await act(server, "resume")
        assert (status, found["wish"]["want"]) == (200, "run")
        status, found = await act(server, "stop", reason="enough")
        assert (status, found["wish"]["want"]) == (200, "stop")
        assert (await settled(settings, number)).status is Status.CANCELLED


async def test_a_stop_says_that_it_waits_for_the_app(waiting: tuple[Server, Settings]) -> None:
    server, settings = waiting
    number = await begin(settings)
    with anyio.fail_after(30):
        flows = server.site.runtime.flows
        while not any(sign.progress.in_hand for sign in await flows.read_signs(FlowName("crm"), number)):  # noqa: ASYNC110  it is stored
            await anyio.sleep(0.05)
    assert (await act(server, "stop"))[0] == 200
    found: Any = (await server.get(f"/api/v1/flows/crm/movements/{number}"))[1]
    assert found["status"] == "CANCELLATION_REQUESTED"
    assert "or reported by the app that pulls it, and until " in found["sentence"]
    assert (await cancelled(server, settings, number)).settled


async def test_a_start_is_queued_shown_and_taken_back(waiting: tuple[Server, Settings]) -> None:
    server, settings = waiting
    number = await begin(settings)
    status, problem = await act(server, "start")
    assert (status, "queue" in problem["legal"]) == (409, True)
    status, found = await act(server, "queue")
    assert (status, found["movement"]) == (200, number)
    flow = await read_flow(server)
    assert (flow["queued"]["who"], flow["queued"]["only"]) == ("a operator", [])
    assert (await act(server, "queue"))[0] == 200
    assert (await act(server, "stop"))[0] == 200
    assert (await read_flow(server))["queued"] is None


async def test_a_queued_start_begins_once_the_movement_before_it_has_settled(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "copy.db") as (server, settings):
        status, found = await act(server, "queue")
        assert (status, found["movement"]) == (200, 1)
        status, found = await act(server, "queue")
        assert (status, found["movement"] in {1, 2}) == (200, True)
        assert (await settled(settings, 2)).status is Status.SUCCESS


async def test_a_pause_may_have_an_end(waiting: tuple[Server, Settings]) -> None:
    server, settings = waiting
    await begin(settings)
    until = datetime.now(UTC) + timedelta(hours=5)
    _, found = await act(server, "pause", until=until.isoformat())
    assert datetime.fromisoformat(found["wish"]["until"]) == until
    for wrong in ("tomorrow", "2026-01-01T00:00:00"):
        status, problem = await act(server, "pause", until=wrong)
        assert (status, "until" in problem["detail"]) == (422, True)


async def test_what_a_verb_does_not_take_is_refused(waiting: tuple[Server, Settings]) -> None:
    server, _ = waiting
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("start", {"groups": ["person"]}, "'groups'"),
        ("rerun", {"groups": ["person"]}, "'groups'"),
        ("stop", {"until": "2999-01-01T00:00:00Z"}, "'until'"),
    ]
    for verb, body, word in refused:
        status, problem = await act(server, verb, **body)
        assert (status, word in problem["detail"]) == (422, True), problem
    assert (await read_flow(server))["movements"] == 0


async def test_a_verb_with_an_idempotency_key_is_done_once(waiting: tuple[Server, Settings]) -> None:
    server, settings = waiting
    number = await begin(settings)
    token = await server.token(Role.OPERATOR)
    key = {"Idempotency-Key": "one"}
    status, first = await act(server, "stop", token, headers=key, reason="enough")
    assert status == 200
    await cancelled(server, settings, number)
    assert await act(server, "stop", token, headers=key, reason="enough") == (200, first)
    assert (await act(server, "stop", token, headers=key, reason="other"))[0] == 422
    assert (await act(server, "stop", token))[0] == 409


async def test_a_key_that_was_used_for_a_flow_that_is_gone_counts_for_nothing(
    waiting: tuple[Server, Settings], tmp_path: Path
) -> None:
    server, settings = waiting
    token, key = await server.token(Role.OPERATOR), {"Idempotency-Key": "one"}
    await act(server, "start", token, headers=key)
    assert (await act(server, "stop", token, headers={"Idempotency-Key": "two"}))[0] == 200
    await cancelled(server, settings, 1)
    await remove_flow("crm", settings=settings)
    assert (await act(server, "start", token, headers=key))[0] == 404
    await create_flow("crm", tmp_path / "app.db", "app://cloud", settings=settings)
    status, found = await act(server, "start", token, headers=key)
    assert (status, found["movement"], (await read_flow(server))["movements"]) == (200, 1, 1)
    assert await act(server, "start", token, headers=key) == (200, found)


async def test_only_an_operator_acts_and_only_on_what_there_is(waiting: tuple[Server, Settings]) -> None:
    server, _ = waiting
    assert (await act(server, "start", await server.token(Role.VIEWER)))[0] == 403
    status, problem = await act(server, "pause")
    assert (status, problem["legal"]) == (409, ["start"])
    assert (await act(server, "explode"))[0] == 422
    token = await server.token(Role.OPERATOR)
    assert (await server.request("POST", "/api/v1/flows/nope/actions/start", token, json={}))[0] == 404


async def test_what_was_left_out_is_run_again_by_workers(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        number = await begin(settings)
        await act(server, "stop")
        assert (await cancelled(server, settings, number)).status is Status.CANCELLED
        status, found = await act(server, "rerun")
        assert (status, found["movement"], found["original_movement"]) == (200, 2, 1)
        status, problem = await act(server, "retry")
        assert (status, "retry" in problem["legal"]) == (409, False)


async def test_a_request_that_is_still_in_work_is_not_done_a_second_time(
    waiting: tuple[Server, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = waiting
    begun, go_on = anyio.Event(), anyio.Event()
    starts: list[str] = []
    start_ = verbs.DO[Verb.START]

    async def slow(site: Site, who: Identity, flow: FlowName, asked: verbs.Asked) -> int:
        starts.append(flow)
        begun.set()
        await go_on.wait()
        return await start_(site, who, flow, asked)

    monkeypatch.setattr(verbs, "DO", {**verbs.DO, Verb.START: slow})
    key = {"Idempotency-Key": "one"}
    first = asyncio.create_task(act(server, "start", headers=key))
    await begun.wait()
    status, problem = await act(server, "start", headers=key)
    assert (status, "in work" in problem["detail"]) == (409, True)
    go_on.set()
    status, found = await first
    assert (status, found["movement"]) == (200, 1)
    assert await act(server, "start", headers=key) == (200, found)
    assert starts == ["crm"]


async def test_a_request_whose_server_died_is_taken_up_and_one_that_failed_may_be_sent_again(
    waiting: tuple[Server, Settings],
) -> None:
    server, _ = waiting

    async def never() -> dict[str, Any]:
        death.cancel()
        await anyio.sleep_forever()
        return {}

    failed, died = {"Idempotency-Key": "failed"}, {"Idempotency-Key": "died"}
    assert (await act(server, "pause", headers=failed))[0] == 409
    with anyio.CancelScope() as death:
        who = Identity("a operator", Role.OPERATOR)
        await once(server.site, who, "died", f"crm start {ActionRequest().model_dump_json()}", never)
    assert (await act(server, "start", headers=died))[0] == 409
    server.clock.moment += timedelta(seconds=61)
    status, found = await act(server, "start", headers=died)
    assert (status, found["movement"]) == (200, 1)
    status, found = await act(server, "pause", headers=failed)
    assert (status, found["movement"]) == (200, 1)


async def test_answers_are_deleted_after_a_day(waiting: tuple[Server, Settings]) -> None:
    server, _ = waiting
    who = Identity("a operator", Role.OPERATOR)

    async def nothing() -> dict[str, Any]:
        return {}

    async def stored() -> int:
        return len(await server.site.runtime.store.list_page(REQUESTS))

    server.clock.moment = datetime.now(UTC)
    for number in range(30):
        await once(server.site, who, str(number), "", nothing)
    assert await stored() == 30
    server.clock.moment += timedelta(hours=25)
    for number in range(30, 90):
        await once(server.site, who, str(number), "", nothing)
    assert await stored() < 30


class Work:
    """A request that is in work until it is let go. It is answered with its name, or fails."""

    def __init__(self, name: str) -> None:
        self.name, self.begun, self.go_on, self.fails = name, anyio.Event(), anyio.Event(), False

    async def do(self) -> dict[str, Any]:
        """Wait, and answer."""
        self.begun.set()
        await self.go_on.wait()
        if self.fails:
            raise ProblemError(HTTPStatus.CONFLICT, "It does not work.")
        return {"by": self.name}


OPERATOR = Identity("a operator", Role.OPERATOR)


async def test_a_request_that_takes_long_is_not_taken_up_by_another_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "RENEWED", timedelta(seconds=0.02))
    store, work, other = server.site.runtime.store, Work("first"), Work("other")
    other.go_on.set()
    task = asyncio.create_task(once(server.site, OPERATOR, "long", "asked", work.do))
    await work.begun.wait()
    server.clock.moment += timedelta(seconds=61)
    [info] = await store.list_page(REQUESTS)
    before = (await store.get(info.key)).version
    with anyio.fail_after(60):
        while (await store.get(info.key)).version == before:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    with pytest.raises(ProblemError, match="in work"):
        await once(server.site, OPERATOR, "long", "asked", other.do)
    work.go_on.set()
    assert await task == {"by": "first"}
    assert await once(server.site, OPERATOR, "long", "asked", other.do) == {"by": "first"}


@pytest.mark.parametrize("fails", [False, True])
async def test_a_server_that_was_taken_for_dead_leaves_the_answer_of_another_alone(server: Server, fails: bool) -> None:
    work, other = Work("first"), Work("other")
    work.fails = fails
    other.go_on.set()
    task = asyncio.create_task(once(server.site, OPERATOR, "long", "asked", work.do))
    await work.begun.wait()
    server.clock.moment += timedelta(seconds=61)
    assert await once(server.site, OPERATOR, "long", "asked", other.do) == {"by": "other"}
    work.go_on.set()
    if fails:
        with pytest.raises(ProblemError, match="does not work"):
            await task
    else:
        assert await task == {"by": "first"}
    assert await once(server.site, OPERATOR, "long", "asked", work.do) == {"by": "other"}
