"""The public platform's paths: an app that knows no others imports a Movement with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from pipeline.assembly.commands.declared.remove import remove_flow
from pipeline.assembly.commands.flows import create_flow
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.movement import Status
from pipeline.http.platform.transfers import message_id, transfer_of
from pipeline.http.platform.webhooks import Webhooks
from pipeline.http.site import PlatformProfile
from pipeline.http.tokens import Role, Side
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.settings import Settings
from tests.http.conftest import Server, create_app
from tests.http.flows import begin, change, settled
from tests.http.platform_app import CONNECT, FORGE, PlatformApp, platform

WRONG_ENDPOINTS = {
    "ftp://example.org": "no URL of an endpoint",
    "nonsense": "no URL of an endpoint",
    "http://": "no URL of an endpoint",
    "http://127.0.0.1:0/": "no URL of an endpoint",
    "http://127.0.0.1:99999/": "it is no URL",
    "http://[::1": "it is no URL",
    "http://ex ample/": "no blanks",
    "http://example.org/\n": "no blanks",
    "http://user:word@example.org/": "a password",
    "http://169.254.169.254/": "neither a public address",
    "http://[::ffff:10.0.0.1]/": "neither a public address",
    "http://[fe80::1%25eth0]/": "neither a public address",
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[PlatformApp, Settings]]:
    """A server with the profile, and an app of which it knows the endpoint."""
    create_app(tmp_path / "app.db")
    async with platform(tmp_path) as (one, settings):
        status, found = await one.call("PUT", f"{CONNECT}/webhook", json={"endpoints": [one.url]})
        assert (status, found) == (200, {"endpoints": [one.url]})
        yield one, settings


async def test_a_forge_app_gets_events_in_order_and_acknowledges_messages(
    app: tuple[PlatformApp, Settings], tmp_path: Path
) -> None:
    api, settings = app
    api.refuses = 1
    number = await begin(settings)
    begun = await api.event("listener-triggered")
    transfer = begun["transferId"]
    people: list[str] = []
    for count in (1, 2):
        event = await api.event("app-data-uploaded", count)
        assert event["transferId"] == transfer
        status, found = await api.call("GET", f"{FORGE}/data/{event['key']}")
        assert (status, (await api.call("GET", found["url"]))[0]) == (200, 200)
        status, text = await api.call("GET", f"{FORGE}/data/{event['key']}/payload")
        people += [line for line in text.splitlines()[1:] if event["label"] == "person"]
        body = {"status": "SUCCESS", "messageIds": [event["messageId"]]}
        assert (await api.call("POST", f"{FORGE}/message/{transfer}/status", json=body))[0] == 204
    assert len(people) == 5
    movement = await settled(settings, number)
    assert movement.status is Status.SUCCESS, movement.problems
    assert (await api.event("transfer-settled"))["transferStatus"] == "SUCCESS"
    status, problem = await api.call("POST", f"{FORGE}/message/{transfer}/status", json=body)
    assert (status, "already in a settled state" in problem["detail"]) == (409, True)
    assert (await api.call("GET", f"{FORGE}/data/{event['key']}"))[0] == 403
    assert len({one["messageId"] for one in api.events}) == len(api.events)


async def test_data_that_follows_other_data_is_announced_and_acknowledged_after_it(
    app: tuple[PlatformApp, Settings], tmp_path: Path
) -> None:
    api, settings = app
    await begin(settings)
    first = await api.event("app-data-uploaded", 2)
    body = {"status": "SUCCESS", "messageIds": [one["messageId"] for one in api.events if "key" in one]}
    await api.call("POST", f"{FORGE}/message/{first['transferId']}/status", json=body)
    await settled(settings, 1)
    change(tmp_path / "app.db", "UPDATE person SET name = 'new'")
    await begin(settings)
    event = await api.event("app-data-uploaded", 3)
    assert (event["label"], event["transferId"] == first["transferId"]) == ("person", False)
    unknown = {"status": "SUCCESS", "messageIds": [first["messageId"]]}
    assert (await api.call("POST", f"{FORGE}/message/{event['transferId']}/status", json=unknown))[0] == 400
    failed = {"status": "FAILED", "messageIds": [event["messageId"]]}
    assert (await api.call("POST", f"{FORGE}/message/{event['transferId']}/status", json=failed))[0] == 204
    movement = await settled(settings, 2)
    assert (movement.status, "the app reports FAILED" in str(movement.problems)) == (Status.INCOMPLETE, True)


async def test_of_messages_of_which_one_comes_too_early_none_is_taken(
    app: tuple[PlatformApp, Settings], tmp_path: Path
) -> None:
    api, settings = app
    await begin(settings)
    await api.event("app-data-uploaded", 2)
    failed = {"status": "FAILED", "messageIds": [one["messageId"] for one in api.events if "key" in one]}
    await api.call("POST", f"{FORGE}/message/{api.events[0]['transferId']}/status", json=failed)
    await settled(settings, 1)
    change(tmp_path / "app.db", "UPDATE person SET name = 'new'")
    await begin(settings)
    transfer = (await api.event("app-data-uploaded", 4))["transferId"]
    pet, first, second = [
        message_id(UUID(transfer), EventFileId.parse(file))
        for file in ("1/pet/full/0", "1/person/full/0", "2/person/incremental/0")
    ]
    path = f"{FORGE}/message/{transfer}/status"
    status, problem = await api.call("POST", path, json={"status": "SUCCESS", "messageIds": [pet, second]})
    assert (status, "other data comes before it" in problem["detail"]) == (409, True)
    assert await (await transfer_of(api.server.site, FlowName("crm"))).importing.marks() == {}
    assert (await api.call("POST", path, json={"status": "SUCCESS", "messageIds": [pet, first, second]}))[0] == 204
    assert (await settled(settings, 2)).status is Status.SUCCESS


async def test_the_endpoints_of_an_app_go_with_its_flow(app: tuple[PlatformApp, Settings], tmp_path: Path) -> None:
    api, settings = app
    await remove_flow("crm", settings=settings)
    await create_flow("crm", tmp_path / "app.db", "app://cloud", settings=settings)
    api.token = await api.server.app_token("crm")
    assert await api.call("GET", f"{CONNECT}/webhook") == (200, {"endpoints": []})


async def test_success_before_the_end_of_the_export_takes_nothing(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    number = await begin(settings)
    transfer = (await api.event("app-data-uploaded", 2))["transferId"]
    await api.server.site.runtime.flows.update(FlowName("crm"), number, lambda now: replace(now, exported=False))
    status, problem = await api.call("POST", f"{CONNECT}/progress/{transfer}", json={"status": "SUCCESS"})
    assert (status, "The export has not ended" in problem["detail"]) == (409, True)
    assert await (await transfer_of(api.server.site, FlowName("crm"))).importing.marks() == {}


async def test_a_connect_app_reports_progress_and_ends_with_success(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    number = await begin(settings)
    transfer = (await api.event("app-data-uploaded", 2))["transferId"]
    path = f"{CONNECT}/progress/{transfer}"
    status, listed = await api.call("GET", f"/wiki{CONNECT}/data/{transfer}/all")
    assert (status, sorted(one["label"] for one in listed)) == (200, ["person", "pet"])
    assert (await api.call("GET", f"{CONNECT}/data/{listed[0]['s3Key']}"))[0] == 200
    shown = [
        (await api.call("POST", path, json={"status": "IN_PROGRESS", "percent": percent, "message": "working"}))[1]
        for percent in (40, 20, 0, 100)
    ]
    assert [one["percent"] for one in shown] == [40, 40, 40, 99]
    for kept in ({"done": 1}, {"done": 2}):
        assert (await api.call("POST", f"{CONNECT}/feedback/{transfer}", json={"details": kept}))[0] == 204
    assert (await api.call("POST", f"{FORGE}/log/{transfer}", json={"message": "all is well"}))[0] == 204
    assert (await api.call("GET", f"{CONNECT}/error/{transfer}"))[0] == 404
    await api.end(transfer, status="SUCCESS")
    assert (await settled(settings, number)).status is Status.SUCCESS
    for call, body in [("progress", {"status": "SUCCESS"}), ("feedback", {"details": {}})]:
        assert (await api.call("POST", f"{CONNECT}/{call}/{transfer}", json=body))[0] == 403
    stored = b"".join(path.read_bytes() for path in (settings.home / "store").rglob("*") if path.is_file())
    assert (b'"done":2' in stored, b'"done":1' in stored, b"all is well" in stored) == (True, False, True)


async def test_a_connect_app_that_fails_says_why(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    number = await begin(settings)
    transfer = (await api.event("app-data-uploaded", 2))["transferId"]
    await api.end(transfer, status="FAILED", message="the licence has expired")
    assert (await settled(settings, number)).status is Status.FAILED
    status, found = await api.call("GET", f"{CONNECT}/error/{transfer}")
    assert (status, "the licence has expired" in found["safeStackTrace"]) == (200, True)


async def test_mappings_and_data_come_in_pages(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    number = await begin(settings)
    transfer = (await api.event("app-data-uploaded", 2))["transferId"]
    flow = await api.server.site.runtime.flows.read_flow(FlowName("crm"))
    ids = StoredIds(Kept(api.server.site.runtime.store, flow.marks_namespace))
    for key in range(5):
        await ids.put("jira:issue", str(key), IdEntry("once", number, f"new {key}", "created"))
    ids.close()
    for base in (FORGE, CONNECT):
        path = f"{base}/mapping/{transfer}"
        assert await api.call("POST", f"{path}/find?namespace=jira:issue", json=["3", "9"]) == (200, {"3": "new 3"})
        many = [str(key) for key in range(1201)]
        assert (await api.call("POST", f"{path}/find?namespace=jira:issue", json=many[:1200]))[0] == 200
        assert (await api.call("POST", f"{path}/find?namespace=jira:issue", json=many))[0] == 422
        _, first = await api.call("GET", f"{path}/page?namespace=jira:issue&pageSize=3")
        assert first["meta"] == {"pageSize": 3, "hasNext": True, "lastEntity": "2"}
        _, second = await api.call("GET", f"{path}/page?namespace=jira:issue&pageSize=3&lastEntity=2")
        assert (second["meta"]["hasNext"], second["items"]) == (False, {"3": "new 3", "4": "new 4"})
    for base, most in ((FORGE, 1200), (CONNECT, 5000)):
        path = f"{base}/mapping/{transfer}/page?namespace=jira:issue"
        assert (await api.call("GET", path))[1]["meta"]["pageSize"] == most
        assert (await api.call("GET", f"{path}&pageSize={most + 1}"))[0] == 422
    _, first = await api.call("GET", f"{FORGE}/data/{transfer}/page?pageSize=1")
    _, second = await api.call(
        "GET", f"{FORGE}/data/{transfer}/page?pageSize=1&lastEvaluatedKey={first['lastEvaluatedKey']}"
    )
    _, whole = await api.call("GET", f"{FORGE}/data/{transfer}/all")
    items = first["items"] + second["items"]
    assert [one["key"] for one in items] == [one["key"] for one in whole]
    assert (second["lastEvaluatedKey"], all(one["fileSize"] > 0 for one in items)) == (None, True)


async def test_containers_are_the_projects_and_spaces_of_the_id_map_and_one_site(
    app: tuple[PlatformApp, Settings],
) -> None:
    api, settings = app
    number = await begin(settings)
    transfer = (await api.event("app-data-uploaded", 2))["transferId"]
    flow = await api.server.site.runtime.flows.read_flow(FlowName("crm"))
    ids = StoredIds(Kept(api.server.site.runtime.store, flow.marks_namespace))
    for key in range(251):
        await ids.put("jira/classic:project", f"{key:03}", IdEntry("once", number, f"P{key}", "created"))
    ids.close()
    for base in (FORGE, CONNECT):
        path = f"{base}/container/{transfer}/page?containerType"
        _, first = await api.call("GET", f"{path}=JiraProject")
        assert first["meta"] == {"pageSize": 250, "hasNext": True, "lastEntity": "249"}
        assert first["containers"][7] == {"type": "JiraProject", "key": "P7", "sourceId": "007"}
        _, second = await api.call("GET", f"{path}=JiraProject&lastEntity=249")
        assert (len(first["containers"]), [one["key"] for one in second["containers"]]) == (250, ["P250"])
        assert (await api.call("GET", f"{path}=ConfluenceSpace"))[1]["containers"] == []
        _, site = await api.call("GET", f"{path}=Site")
        assert site["containers"] == [{"type": "Site", "selectedUsers": "ALL_USERS"}]
        assert (await api.call("GET", f"{path}=Board"))[0] == 422


async def test_an_app_sees_its_own_transfers_alone(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    await begin(settings)
    transfer = (await api.event("listener-triggered"))["transferId"]
    other = transfer[:-1] + ("0" if transfer[-1] != "0" else "1")
    for wrong in (other, ("1" if transfer[0] == "0" else "0") + transfer[1:], "nonsense"):
        assert (await api.call("GET", f"{FORGE}/data/{wrong}/all"))[0] in (404, 422)
    for key in ("x", "L2V0Yy9wYXNzd2Q", "MS9ub3BlL2Z1bGwvMA"):
        assert (await api.call("GET", f"{FORGE}/data/{key}"))[0] == 404
    for role, flow, side in [(Role.APP, "crm", Side.SOURCE), (Role.ADMIN, "", None)]:
        api.token = await api.server.token(role, flow, side)
        assert (await api.call("GET", f"{FORGE}/data/{transfer}/all"))[0] == 403
    api.token = "wrong"
    assert (await api.call("GET", f"{FORGE}/data/{transfer}/all"))[0] == 401


async def test_endpoints_are_public_or_on_this_machine(app: tuple[PlatformApp, Settings]) -> None:
    api, settings = app
    for wrong, words in WRONG_ENDPOINTS.items():
        status, problem = await api.call("PUT", f"{CONNECT}/webhook", json={"endpoints": [api.url, wrong]})
        assert (status, words in problem["detail"]) == (400, True), problem
    assert (await api.call("GET", f"{CONNECT}/webhook"))[1] == {"endpoints": [api.url]}
    await api.call("PUT", f"{CONNECT}/webhook", json={"endpoints": ["http://0xa9fea9fe/x"]})
    with capture_logs() as logs:
        await begin(settings)
        warning = await logged(logs, "webhook_not_sent")
    assert (warning["flow"], "169.254.169.254" in warning["reason"]) == ("crm", True)
    assert "not a public address" in warning["reason"]
    assert (await api.call("DELETE", f"{CONNECT}/webhook"))[0] == 204
    assert (await api.call("GET", f"{CONNECT}/webhook"))[1] == {"endpoints": []}


async def test_an_endpoint_that_refuses_keeps_events_from_no_other_and_gets_them_later(
    app: tuple[PlatformApp, Settings],
) -> None:
    api, settings = app
    await api.call("PUT", f"{CONNECT}/webhook", json={"endpoints": [f"{api.url}/other", api.url]})
    with capture_logs() as logs:
        await begin(settings)
        await api.event("app-data-uploaded", 2)
        await logged(logs, "webhook_not_sent", 2)
    assert [one["eventType"] for one in api.events] == ["listener-triggered", "app-data-uploaded", "app-data-uploaded"]
    api.other_refuses = False
    with anyio.fail_after(60):
        while len(api.at_other) < 3:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    assert api.at_other[0] == api.events[0]
    ids = [sorted(one["messageId"] for one in events) for events in (api.at_other, api.events)]
    assert ids[0] == ids[1]


async def test_a_listing_that_fails_ends_nothing(
    app: tuple[PlatformApp, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, settings = app

    async def fail(_: Webhooks) -> list[FlowName]:
        raise TransientError("the store does not answer")

    with capture_logs() as logs, monkeypatch.context() as patched:
        patched.setattr(Webhooks, "flows", fail)
        assert (await logged(logs, "webhooks_not_listed"))["reason"] == "the store does not answer"
    await begin(settings)
    await api.event("listener-triggered")


async def logged(logs: list[EventDict], name: str, number: int = 1) -> EventDict:
    """Return the log event of this name with this number, counted from 1, as soon as it is there."""
    with anyio.fail_after(60):
        while len(found := [one for one in logs if one["event"] == name]) < number:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    return found[number - 1]


async def test_times_have_the_unit_that_was_asked_for_and_a_rerun_names_its_original(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with platform(tmp_path, PlatformProfile("seconds")) as (api, settings):
        await api.call("PUT", f"{CONNECT}/webhook", json={"endpoints": [api.url]})
        await begin(settings)
        event = await api.event("listener-triggered")
        assert event["migrationDetails"]["createdAt"] < 10_000_000_000
        await api.event("app-data-uploaded", 2)
        await api.end(event["transferId"], status="INCOMPLETE", message="later")
        await settled(settings, 1)
        operator = await api.server.token(Role.OPERATOR)
        status, _ = await api.server.request("POST", "/api/v1/flows/crm/actions/rerun", operator, json={})
        assert status == 200
        assert (await api.event("listener-triggered", 2))["originalTransferId"] == event["transferId"]


async def test_without_the_profile_there_are_no_such_paths(server: Server) -> None:
    token = await server.token(Role.APP, "crm", Side.DESTINATION)
    for path in (f"{FORGE}/data/x/all", f"{CONNECT}/webhook"):
        assert (await server.get(path, token))[0] == 404
