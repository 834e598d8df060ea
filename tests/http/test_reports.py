"""What operators read beside Flows and Movements: the log, the id map, endpoints of notifications."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import orjson
import pytest

from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.domain.ids import FlowName
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.tokens import Role
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.kit.ledger.people_log import PeopleLog
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server
from tests.http.test_reading import read


async def test_the_log_of_a_movement_is_a_file_of_lines(server: Server) -> None:
    people_log, text = PeopleLog(server.site.runtime.store, FlowName("crm"), "app", 1), '=told, "with" ä\nand <b>'
    people_log.tell("1/pet/full/0", 2, text)
    await people_log.store()
    found = {}
    for form in ("csv", "jsonl"):
        url, headers = f"{server.url}/api/v1/flows/crm/log.{form}", {"Authorization": f"Bearer {START_TOKEN}"}
        async with server.client.get(url, headers=headers) as answer:
            assert (answer.status, answer.headers["content-disposition"]) == (
                200,
                f'attachment; filename="log-1.{form}"',
            )
            found[form] = (await answer.read()).decode()
    columns, row = csv.reader(found["csv"].splitlines(keepends=True))
    assert (columns, row[1:]) == (
        ["time", "flow", "movement", "file", "line", "text"],
        ["crm", "1", "1/pet/full/0", "2", f"'{text}"],  # it begins like a formula
    )
    assert list(map(str, orjson.loads(found["jsonl"]).values())) == [*row[:-1], text]
    status, problem = await server.get("/api/v1/flows/crm/log.csv?movement=2")
    assert isinstance(problem, dict)
    assert (status, problem["detail"]) == (404, "Flow 'crm' has no Movement 2; its latest is 1.")
    assert (await server.get("/api/v1/flows/crm/log.xml"))[0] == 422


async def test_the_id_map_is_read_by_kind_and_by_page(server: Server) -> None:
    flow = await server.site.runtime.flows.read_flow(FlowName("crm"))
    ids = StoredIds(Kept(server.site.runtime.store, flow.marks_namespace))
    for kind in ("a/b", "person"):
        for key in range(3):
            await ids.put(kind, str(key), IdEntry("once", 1, f"new {key}", "created"))
    ids.close()
    assert (await read(server, "/flows/crm/mappings"))["items"] == ["a/b", "person"]
    first = await read(server, "/flows/crm/mappings/a/b?limit=2")
    second = await read(server, f"/flows/crm/mappings/a/b?limit=2&after={first['next']}")
    assert [one["target"] for page in (first, second) for one in page["items"]] == ["new 0", "new 1", "new 2"]
    assert second["next"] is None
    assert [one["target"] for one in (await read(server, "/flows/crm/mappings/person?source=1"))["items"]] == ["new 1"]
    assert (await read(server, "/flows/crm/mappings/person?source=9"))["items"] == []


async def test_an_operator_enables_disables_and_tests_an_endpoint(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    endpoint = Endpoint("ops", "https://127.0.0.1:1/hook", datetime.now(UTC), allow_private=("127.0.0.0/8",))
    await add_endpoint(endpoint, "env:HOOK_SECRET", settings=Settings(home=server.directory / "home"))
    [found] = (await read(server, "/notifications"))["items"]
    assert (found["name"], found["disabled"], found["waiting"]) == ("ops", "", 0)
    assert (await server.request("POST", "/api/v1/notifications/ops/disable", await server.token(Role.VIEWER)))[
        0
    ] == 403
    operator = await server.token(Role.OPERATOR)
    for verb, disabled in (("disable", "by a operator"), ("enable", "")):
        status, changed = await server.request("POST", f"/api/v1/notifications/ops/{verb}", operator)
        assert isinstance(changed, dict)
        assert (status, changed["disabled"]) == (200, disabled)
    status, tested = await server.request("POST", "/api/v1/notifications/ops/test", operator)
    assert isinstance(tested, dict)
    assert (status, tested["taken"], bool(tested["reason"])) == (200, False, True)
    assert (await server.request("POST", "/api/v1/notifications/nope/enable", operator))[0] == 404
