"""Tokens with scopes: an app reaches the streams whose kinds of data are among them, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.codec.documents.failures import Failure
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.movement import Status
from pipeline.domain.notifications.delivery import Delivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.platform.transfers import file_key, message_id, transfer_of
from pipeline.http.platform.webhooks import Webhooks
from pipeline.http.site import PlatformProfile
from pipeline.http.tokens import Role, Side
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.ports.sender import Notification
from pipeline.settings import Settings
from tests.http.conftest import Server
from tests.http.flows import settled, working
from tests.http.platform_app import CONNECT, FORGE
from tests.http.test_uploading import PERSON

SCOPES: Mapping[str, Sequence[str]] = {"person": ["pii"], "issue": ["other", "pii"], "plain": []}
OUTSIDE = {"issue": "'issue' has data of the scope 'other'", "plain": "'plain' has data of no scope that is known"}
STREAMS = [{**PERSON, "stream": name, "scopes": scopes} for name, scopes in SCOPES.items()]


class App:
    """The calls of an app of one side, with a token of its own."""

    def __init__(self, server: Server, token: str, side: str) -> None:
        self._server, self._token, self._base = server, token, f"/api/v1/apps/crm/{side}"

    @classmethod
    async def of(cls, server: Server, side: Side, *scopes: str) -> App:
        """Return an app with a new token of these scopes."""
        token = await server.token(Role.APP, "crm", side, scopes)
        return cls(server, token, "export" if side is Side.SOURCE else "import")

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        url = path if path.startswith(("/app/", "/rest/")) else self._base + path
        return await self._server.request(method, url, self._token, **({"json": body} if body is not None else options))

    async def refused(self, method: str, path: str, body: object = None, *, outside: str, **options: Any) -> None:
        """Call what is out of reach."""
        status, problem = await self.call(method, path, body, **options)
        assert (status, problem.get("detail", "")[: len(outside)]) == (403, outside), problem


@pytest.fixture
async def moved(tmp_path: Path) -> AsyncIterator[tuple[Server, Settings]]:
    """A Flow from an app to an app whose first Movement is exported: one record of each stream."""
    profile = PlatformProfile("milliseconds")
    async with working(tmp_path, "app://server", "app://cloud", platform=profile) as (server, settings):
        api = await App.of(server, Side.SOURCE)
        assert (await api.call("POST", "", {"streams": STREAMS}))[0] == 201
        for name in SCOPES:
            await api.call("PUT", f"/1/streams/{name}/files/0", data=b'{"upsert":{"id":1,"name":"a"}}')
            await api.call("POST", f"/1/groups/{name}/complete", {"files": {name: 1}})
        cloud = await App.of(server, Side.DESTINATION)
        with anyio.fail_after(60):
            while True:
                status, state = await cloud.call("GET", "?wait=1")
                if status == 200 and state["exported"]:
                    break
        flow = await server.site.runtime.flows.read_flow(FlowName("crm"))
        ids = StoredIds(Kept(server.site.runtime.store, flow.marks_namespace))
        for kind in SCOPES:
            await ids.put(kind, "1", IdEntry("once", 1, "new 1", "created"))
        ids.close()
        yield server, settings


async def test_an_app_that_pulls_reaches_its_scopes_alone(moved: tuple[Server, Settings]) -> None:
    server, settings = moved
    app, whole = await App.of(server, Side.DESTINATION, "pii"), await App.of(server, Side.DESTINATION)
    _, found = await app.call("GET", "/1/groups/person/files")
    person = found["items"][0]["file"]
    for name, outside in OUTSIDE.items():
        file = f"1/{name}/full/0"
        await app.refused("GET", f"/1/groups/{name}/files", outside=outside)
        await app.refused("POST", "/1/links", {"files": [person, file]}, outside=outside)
        reports = {"files": [{"file": one, "status": "imported"} for one in (person, file)]}
        await app.refused("POST", "/1/status", reports, outside=outside)
        await app.refused("GET", f"/mappings/{name}", outside=outside)
        await app.refused("POST", f"/mappings/{name}/find", {"sources": ["1"]}, outside=outside)
        assert (await whole.call("GET", f"/mappings/{name}"))[1]["items"] != []
    await app.refused("POST", "/1/settle", {"status": "FAILED"}, outside=OUTSIDE["issue"])
    assert not (await app.call("GET", "/1/groups/person/files"))[1]["items"][0]["imported"]
    assert (await app.call("POST", "/1/links", {"files": [person]}))[0] == 200
    assert [one["target"] for one in (await app.call("GET", "/mappings/person"))[1]["items"]] == ["new 1"]
    _, found = await app.call("POST", "/1/status", {"files": [{"file": person, "status": "imported"}]})
    assert found["items"][0]["outcome"] == "imported"
    reports = {"files": [{"file": f"1/{name}/full/0", "status": "imported"} for name in OUTSIDE]}
    both = await App.of(server, Side.DESTINATION, "other", "pii")
    await both.refused("POST", "/1/status", reports, outside=OUTSIDE["plain"])
    assert (await both.call("GET", "/1/groups/issue/files"))[0] == 200
    assert (await whole.call("POST", "/1/status", reports))[0] == 200
    assert (await settled(settings, 1)).status is Status.SUCCESS


async def test_an_app_that_uploads_reaches_its_scopes_alone(moved: tuple[Server, Settings]) -> None:
    server, settings = moved
    cloud, whole = await App.of(server, Side.DESTINATION), await App.of(server, Side.SOURCE)
    await cloud.call("POST", "/1/settle", {"status": "FAILED"})
    await settled(settings, 1)
    app = await App.of(server, Side.SOURCE, "pii")
    for stream, outside in zip(STREAMS[1:], OUTSIDE.values(), strict=True):
        for scopes in (stream["scopes"], ["pii"]):  # also where it gives the stream another scope
            await app.refused("POST", "", {"streams": [STREAMS[0], {**stream, "scopes": scopes}]}, outside=outside)
    assert (await server.get("/api/v1/flows/crm"))[1]["movements"] == 1  # type: ignore[index]
    assert (await whole.call("POST", "", {"streams": STREAMS}))[0] == 201
    for name, outside in OUTSIDE.items():
        path = f"/2/streams/{name}/files/0"
        await app.refused("PUT", path, data=b"", outside=outside)
        await app.refused("PUT", f"{path}/parts/0", data=b"", outside=outside)
        await app.refused("GET", f"{path}/parts", outside=outside)
        await app.refused("POST", f"{path}/complete", {"parts": ["0" * 64], "sha256": "0" * 64}, outside=outside)
        await app.refused("POST", f"/2/groups/{name}/complete", {"files": {}}, outside=outside)
    await app.refused("POST", "/2/end", {}, outside=OUTSIDE["issue"])
    await app.refused("POST", "/2/fail", {"reason": "x"}, outside=OUTSIDE["issue"])
    assert (await app.call("PUT", "/2/streams/person/files/0", data=b""))[0] == 201
    assert (await app.call("POST", "/2/groups/person/complete", {"files": {"person": 1}}))[0] == 200
    assert (await whole.call("POST", "/2/fail", {"reason": "enough"}))[0] == 200


async def test_an_app_of_the_public_platform_reaches_its_scopes_alone(moved: tuple[Server, Settings]) -> None:
    server, _ = moved
    app = await App.of(server, Side.DESTINATION, "pii")
    transfer = await transfer_of(server.site, FlowName("crm"))
    key = {name: file_key(EventFileId.parse(f"1/{name}/full/0")) for name in SCOPES}
    for path in (f"{FORGE}/data/{transfer.id}/all", f"{CONNECT}/data/{transfer.id}/all"):
        assert [one["label"] for one in (await app.call("GET", path))[1]] == ["person"]
    _, page = await app.call("GET", f"{FORGE}/data/{transfer.id}/page")
    assert [one["key"] for one in page["items"]] == [key["person"]]
    assert (await app.call("GET", f"{FORGE}/data/{key['person']}"))[0] == 200
    for name, outside in OUTSIDE.items():
        await app.refused("GET", f"{FORGE}/data/{key[name]}", outside=outside)
        await app.refused("GET", f"{FORGE}/data/{key[name]}/payload", outside=outside)
        await app.refused("POST", f"{FORGE}/mapping/{transfer.id}/find?namespace={name}", ["1"], outside=outside)
        await app.refused("GET", f"{CONNECT}/mapping/{transfer.id}/page?namespace={name}", outside=outside)
        messages = [message_id(transfer.id, EventFileId.parse(f"1/{one}/full/0")) for one in ("person", name)]
        body = {"status": "SUCCESS", "messageIds": messages}
        await app.refused("POST", f"{FORGE}/message/{transfer.id}/status", body, outside=outside)
    for status in ("SUCCESS", "FAILED"):
        await app.refused("POST", f"{CONNECT}/progress/{transfer.id}", {"status": status}, outside=OUTSIDE["issue"])
    assert await transfer.importing.marks() == {}


async def test_endpoints_get_what_the_token_reaches_that_has_named_them(moved: tuple[Server, Settings]) -> None:
    server, _ = moved
    limited, whole = await App.of(server, Side.DESTINATION, "pii"), await App.of(server, Side.DESTINATION)
    path, urls = f"{CONNECT}/webhook", {"limited": "http://127.0.0.1:1/pii", "whole": "http://127.0.0.1:1/all"}
    sent: dict[str, list[Any]] = {url: [] for url in urls.values()}

    class Taking:
        async def send(self, endpoint: Endpoint, notification: Notification) -> Delivered:
            event = json.loads(notification.body)
            sent[endpoint.url].append(event.get("label", event["eventType"]))
            return Delivered()

    for app, url in ((whole, urls["whole"]), (limited, urls["limited"])):
        assert (await app.call("PUT", path, {"endpoints": [url]}))[0] == 200
        assert (await app.call("GET", path))[1] == {"endpoints": [url]}
    assert await Webhooks(server.site).send_due(FlowName("crm"), Taking()) == {}
    assert sorted(sent[urls["limited"]]) == ["listener-triggered", "person"]
    assert sorted(sent[urls["whole"]]) == ["issue", "listener-triggered", "person", "plain"]
    assert (await whole.call("GET", path))[1] == {"endpoints": [urls["whole"]]}
    assert (await limited.call("PUT", path, {"endpoints": ["http://[x"]}))[0] == 400
    await limited.call("PUT", path, {"endpoints": []})
    assert (await whole.call("GET", path))[1] == {"endpoints": [urls["whole"]]}


async def test_what_is_said_of_a_whole_transfer_needs_a_token_that_reaches_it(moved: tuple[Server, Settings]) -> None:
    server, _ = moved
    app, whole = await App.of(server, Side.DESTINATION, "pii"), await App.of(server, Side.DESTINATION)
    transfer = await transfer_of(server.site, FlowName("crm"))
    feedback = {"details": {"x": 1}}
    await app.refused("POST", f"{CONNECT}/feedback/{transfer.id}", feedback, outside=OUTSIDE["issue"])
    assert (await whole.call("POST", f"{CONNECT}/feedback/{transfer.id}", feedback))[0] == 204
    assert (await app.call("POST", f"{FORGE}/log/{transfer.id}", {"message": "begun"}))[0] == 204
    flows = server.site.runtime.flows
    for name, reason in (("issue", "a secret value"), ("person", "no room")):
        file = EventFileId.parse(f"1/{name}/full/0")
        assert (await app.call("GET", f"{CONNECT}/error/{transfer.id}"))[0] == 404
        await flows.write_failures(FlowName("crm"), 1, file, [Failure(file, None, None, None, reason)])
    assert (await app.call("GET", f"{CONNECT}/error/{transfer.id}"))[1]["safeStackTrace"] == "no room"
    assert (await whole.call("GET", f"{CONNECT}/error/{transfer.id}"))[1]["safeStackTrace"] == "a secret value"


async def test_scopes_are_given_to_the_token_of_an_app(server: Server) -> None:
    for wrong in (
        {"role": "viewer", "scopes": ["pii"]},
        {"role": "app", "flow": "crm", "side": "source", "scopes": [""]},
    ):
        status, problem = await server.request("POST", "/api/v1/tokens", json={"name": "x", **wrong})
        assert isinstance(problem, dict)
        assert (status, problem["detail"].partition(" ")[0]) == (422, "Scopes")
    arguments = "token create x --role app --flow crm --side source --scope pii --scope other --json"
    run = await anyio.run_process(
        [sys.executable, "-m", "pipeline", *arguments.split()],
        env={**os.environ, "PIPELINE_HOME": str(server.directory / "home")},
    )
    assert json.loads(run.stdout)["scopes"] == ["pii", "other"]
    _, found = await server.get("/api/v1/tokens")
    assert isinstance(found, dict)
    assert [one["scopes"] for one in found["items"]] == [["pii", "other"]]
