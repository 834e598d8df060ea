"""Whatever a person does over HTTP or on the dashboard is in the log with who did it, and nothing that was not done is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from pipeline.assembly.commands.declared.apply import set_flow
from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.tokens import Role
from tests.http.conftest import START_TOKEN, Server
from tests.http.test_pages import log_in

APPROVE = {"side": "source", "act": "approve"}


@pytest.fixture
async def asking(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server whose Flow needs an approval, with an endpoint of notifications that does not answer."""
    monkeypatch.setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    settings = server.site.runtime.settings
    await set_flow("crm", ['approvals.required=["source"]'], lambda changes: True, settings=settings)
    endpoint = Endpoint("ops", "https://127.0.0.1:1/hook", datetime.now(UTC), allow_private=("127.0.0.0/8",))
    await add_endpoint(endpoint, "env:HOOK_SECRET", settings=settings)
    return server


def recorded(logs: list[EventDict]) -> list[tuple[Any, ...]]:
    """Return the actions in the log, without the numbers of tokens."""
    names = ("action_taken", "token_created", "token_revoked")
    return [(one.get("verb", one["event"]), one["by"]) for one in logs if one["event"] in names]


async def test_actions_of_the_api_are_recorded(asking: Server) -> None:
    operator, viewer = await asking.token(Role.OPERATOR), await asking.token(Role.VIEWER)
    _, terms = await asking.get("/api/v1/flows/crm/approvals/terms/source")
    assert isinstance(terms, dict)
    signed = {"side": "source", "text_sha256": terms["text_sha256"]}
    with capture_logs() as logs:
        for path, body in (
            ("notifications/ops/test", None),
            ("notifications/ops/disable", None),
            ("notifications/nope/test", None),
            ("notifications/nope/enable", None),
            ("flows/crm/actions/pause", {}),
            ("flows/crm/actions/start", {}),  # it is not approved yet
            ("flows/nope/checks", {"accept": ["x"], "reason": "y"}),
            ("flows/crm/approvals", {**signed, "text_sha256": "0" * 64}),
            ("flows/crm/approvals", signed),
            ("flows/crm/approvals/revoke", {"side": "source", "reason": "wrong"}),
        ):
            for token in (operator, viewer):
                await asking.request("POST", f"/api/v1/{path}", token, json=body)
    verbs = ["test ops", "disable ops", "approve", "revoke"]
    assert recorded(logs) == [(verb, "a operator") for verb in verbs]


async def test_actions_on_the_dashboard_are_recorded_alike(asking: Server) -> None:
    _, terms = await asking.get("/api/v1/flows/crm/approvals/terms/source")
    assert isinstance(terms, dict)
    token = {"name": "Ada", "role": "app", "flow": "crm", "side": "destination", "days": "1"}
    async with await log_in(asking, START_TOKEN) as client:
        with capture_logs() as logs:
            for path, form in (
                ("/notifications", {"endpoint": "ops", "do": "test"}),
                ("/notifications", {"endpoint": "ops", "do": "disable"}),
                ("/notifications", {"endpoint": "ops", "do": "enable"}),
                ("/notifications", {"endpoint": "none", "do": "enable"}),
                ("/flows/crm/actions", {"verb": "start"}),
                ("/flows/crm/approvals", {**APPROVE, "text_sha256": terms["text_sha256"]}),
                ("/flows/crm/approvals", {"side": "source", "act": "revoke"}),
                ("/tokens", token),
                ("/tokens", {**token, "flow": "none"}),
            ):
                async with client.post(path, data=form) as answer:
                    await answer.read()
            [made] = await asking.site.tokens.list_tokens()
            async with client.post(f"/tokens/{made.id}/revoke") as answer:
                assert answer.status == 200
    verbs = ["test ops", "disable ops", "enable ops", "approve", "revoke", "token_created", "token_revoked"]
    assert recorded(logs) == [(verb, "start-up token") for verb in verbs]


async def test_the_form_for_tokens_has_scopes(server: Server) -> None:
    app = {"name": "Ada", "role": "app", "flow": "crm", "side": "destination", "days": "1"}
    async with await log_in(server, START_TOKEN) as client:
        async with client.post("/tokens", data={**app, "scopes": " pii, other data "}) as answer:
            assert "crm, destination: pii, other data" in await answer.text()
        for wrong in (",", "pii,,", ",".join(["pii"] * 101)):  # none of these is a token that reaches all
            async with client.post("/tokens", data={**app, "scopes": wrong}) as answer:
                assert answer.status == 422, wrong
        async with client.post("/tokens", data={"name": "Bob", "role": "viewer", "scopes": "pii"}) as answer:
            assert answer.status == 422
    assert [one.scopes for one in await server.site.tokens.list_tokens()] == [("pii", "other data")]
