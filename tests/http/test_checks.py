"""Checks and approvals over HTTP and in pages."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.assembly.commands.declared.apply import set_flow
from pipeline.http.tokens import Role
from tests.http.conftest import START_TOKEN, Server
from tests.http.test_pages import log_in


async def test_checks_say_what_they_found(server: Server) -> None:
    status, report = await server.request("POST", "/api/v1/flows/crm/checks", json={"quick": True})
    assert isinstance(report, dict)
    assert (status, report["verdict"]) == (200, "ok"), report
    assert {one["id"] for one in report["findings"]} >= {"connection", "rights", "space"}
    (server.directory / "app.db").unlink()
    _, report = await server.request("POST", "/api/v1/flows/crm/checks", json={"quick": True})
    assert isinstance(report, dict)
    assert report["verdict"] == "blocks"
    status, problem = await server.request(
        "POST", "/api/v1/flows/crm/checks", json={"accept": ["connection"], "reason": ""}
    )
    assert isinstance(problem, dict)
    assert (status, "--reason" in problem["detail"]) == (422, True)
    viewer = await server.token(Role.VIEWER)
    assert (await server.request("POST", "/api/v1/flows/crm/checks", viewer, json={}))[0] == 403
    assert (await server.request("POST", "/api/v1/flows/nope/checks", json={}))[0] == 404


async def test_a_page_runs_the_checks(server: Server) -> None:
    client = await log_in(server, START_TOKEN)
    async with client, client.post("/flows/crm/checks", data={"quick": "yes"}) as answer:
        text = await answer.text()
    assert "Nothing stands in the way." in text
    assert "connection" in text


@pytest.fixture
async def asking(server: Server) -> Server:
    """A server whose Flow needs the approval of the source's side."""
    wanted = ['approvals.required=["source"]', 'approvals.text="Names of people go to the cloud."']
    await set_flow("crm", wanted, lambda changes: True, settings=server.site.runtime.settings)
    return server


async def test_an_approval_is_recorded_with_the_text_that_was_seen(asking: Server) -> None:
    ada = await asking.token(Role.OPERATOR)
    _, terms = await asking.get("/api/v1/flows/crm/approvals/terms/source", ada)
    assert isinstance(terms, dict)
    assert terms["text"] == "Names of people go to the cloud."
    wrong: dict[str, Any] = {"side": "source", "text_sha256": "0" * 64}
    assert (await asking.request("POST", "/api/v1/flows/crm/approvals", ada, json=wrong))[0] == 409
    right = {"side": "source", "text_sha256": terms["text_sha256"]}
    status, act = await asking.request("POST", "/api/v1/flows/crm/approvals", ada, json=right)
    assert isinstance(act, dict)
    assert (status, act["by"], act["act"]) == (200, "a operator", "approve")
    status, _ = await asking.request("POST", "/api/v1/flows/crm/approvals/revoke", ada, json={"side": "source"})
    assert status == 200
    _, acts = await asking.get("/api/v1/flows/crm/approvals", ada)
    assert isinstance(acts, dict)
    assert [one["act"] for one in acts["items"]] == ["approve", "revoke"]
    status, problem = await asking.request(
        "POST", "/api/v1/flows/crm/approvals", ada, json={**right, "side": "destination"}
    )
    assert isinstance(problem, dict)
    assert (status, "requires no approval" in problem["detail"]) == (422, True)


async def test_a_page_asks_for_an_approval(asking: Server) -> None:
    client = await log_in(asking, START_TOKEN)
    async with client:
        async with client.get("/flows/crm/approvals") as answer:
            text = await answer.text()
        assert "Names of people go to the cloud." in text
        assert "Nobody has approved yet." in text
        sha = text.partition('name="text_sha256" value="')[2][:64]
        async with client.post(
            "/flows/crm/approvals", data={"side": "source", "act": "approve", "text_sha256": sha}
        ) as answer:
            assert "start-up token approved" in await answer.text()
