"""Tokens and roles: who may do what, and for how long."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from pipeline.assembly.commands.declared.remove import remove_flow
from pipeline.assembly.commands.flows import create_flow
from pipeline.http.site import ProxyAuth
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import Server, run_server


async def test_nothing_is_read_without_a_token(server: Server) -> None:
    for token in (None, "", "wrong", "plt_0123456789abcdef_wrong", "plt_../flows_x"):
        status, problem = await server.get("/api/v1/flows", token)
        assert status == 401
        assert isinstance(problem, dict)
        assert "pipeline token create" in problem["detail"]


async def test_a_viewer_reads_and_does_nothing_else(server: Server) -> None:
    token = await server.token(Role.VIEWER)
    assert (await server.get("/api/v1/flows", token))[0] == 200
    for method, path in [("GET", "/tokens"), ("POST", "/tokens"), ("DELETE", "/tokens/0123456789abcdef")]:
        body = {"role": "admin", "name": "me"} if method == "POST" else None
        assert (await server.request(method, f"/api/v1{path}", token, json=body))[0] == 403


async def test_an_app_reads_nothing_that_is_for_people(server: Server) -> None:
    token = await server.token(Role.APP, "crm", Side.SOURCE)
    assert (await server.get("/api/v1/flows", token))[0] == 403


async def test_an_admin_makes_lists_and_revokes_tokens(server: Server) -> None:
    wanted = {"role": "operator", "name": "Ada", "days": 1}
    status, made = await server.request("POST", "/api/v1/tokens", json=wanted)
    assert status == 201
    assert isinstance(made, dict)
    token = made["token"]
    assert (await server.get("/api/v1/flows", token))[0] == 200
    _, listed = await server.get("/api/v1/tokens")
    assert isinstance(listed, dict)
    assert [(one["name"], one["created_by"]) for one in listed["items"]] == [("Ada", "start-up token")]
    assert token.split("_", 2)[2] not in str(listed)
    status, revoked = await server.request("DELETE", f"/api/v1/tokens/{made['id']}")
    assert isinstance(revoked, dict)
    assert (status, revoked["revoked_by"]) == (200, "start-up token")
    assert (await server.get("/api/v1/flows", token))[0] == 401


async def test_a_token_expires(server: Server) -> None:
    token = await server.token(Role.VIEWER)
    server.clock.moment += timedelta(hours=23)
    assert (await server.get("/api/v1/flows", token))[0] == 200
    server.clock.moment += timedelta(hours=2)
    assert (await server.get("/api/v1/flows", token))[0] == 401


async def test_the_store_has_no_text_of_a_token(server: Server) -> None:
    token = await server.token(Role.ADMIN)
    stored = [path.read_bytes() for path in (server.directory / "home").rglob("*") if path.is_file()]
    assert len(stored) > 1
    assert not any(token.split("_", 2)[2].encode() in data for data in stored)


async def test_an_apps_token_needs_a_flow_and_a_side(server: Server) -> None:
    for body in [{"role": "app", "name": "x"}, {"role": "viewer", "name": "x", "flow": "crm", "side": "source"}]:
        status, problem = await server.request("POST", "/api/v1/tokens", json=body)
        assert isinstance(problem, dict)
        assert (status, "side" in problem["detail"]) == (422, True)
    status, problem = await server.request("POST", "/api/v1/tokens", json={"role": "viewer", "name": "x", "hash": "y"})
    assert isinstance(problem, dict)
    assert (status, "hash" in problem["detail"]) == (422, True)


async def test_an_apps_token_is_for_a_flow_that_there_is(server: Server) -> None:
    body = {"role": "app", "name": "x", "flow": "nope", "side": "source"}
    status, problem = await server.request("POST", "/api/v1/tokens", json=body)
    assert isinstance(problem, dict)
    assert (status, "There is no Flow named 'nope'" in problem["detail"]) == (422, True)
    settings = Settings(home=server.directory / "home")
    arguments = ["token", "create", "x", "--role", "app", "--flow", "nope", "--side", "source"]
    run = await anyio.run_process(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**os.environ, "PIPELINE_HOME": str(settings.home)},
        check=False,
    )
    assert (run.returncode, b"There is no Flow named 'nope'" in run.stderr) == (2, True)
    assert (await server.get("/api/v1/tokens"))[1] == {"items": [], "next": None}


@pytest.mark.parametrize("is_earlier_release", [False, True])
async def test_a_token_ends_with_its_flow_also_where_another_has_the_name(
    server: Server, *, is_earlier_release: bool
) -> None:
    server.clock.moment = datetime.now(UTC)
    path, settings = "/api/v1/apps/crm/import", Settings(home=server.directory / "home")
    token = await server.app_token("crm")
    if is_earlier_release:
        [stored] = (server.directory / "home").rglob("tokens/*.json")
        document = json.loads(stored.read_bytes())
        del document["flow_created"]
        stored.write_text(json.dumps(document))
    assert (await server.get(path, token))[0] == 200
    await remove_flow("crm", settings=settings)
    assert (await server.get(path, token))[0] == 401
    await create_flow("crm", server.directory / "app.db", "app://cloud", settings=settings)
    assert (await server.get(path, token))[0] == 401
    assert (await server.get(path, await server.app_token("crm")))[0] == 404  # there is no Movement yet


async def test_a_proxy_is_believed_only_from_its_network(tmp_path: Path) -> None:
    headers = {"X-Forwarded-User": "ada", "X-Forwarded-Role": "admin"}
    async with run_server(tmp_path / "a", proxy=ProxyAuth(["127.0.0.0/8"])) as server:
        assert (await server.get("/api/v1/tokens", None, headers=headers))[0] == 200
        assert (await server.get("/api/v1/tokens", None, headers={"X-Forwarded-User": "ada"}))[0] == 403
        assert (await server.get("/api/v1/flows", None, headers={**headers, "X-Forwarded-Role": "app"}))[0] == 401
        assert (await server.get("/api/v1/flows", None))[0] == 401
    async with run_server(tmp_path / "b", proxy=ProxyAuth(["192.0.2.0/24"])) as server:
        assert (await server.get("/api/v1/tokens", None, headers=headers))[0] == 401
    async with run_server(tmp_path / "c") as server:
        assert (await server.get("/api/v1/tokens", None, headers=headers))[0] == 401
