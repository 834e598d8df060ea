"""Who may call what: each operation of the API, with the token of each role. One without a rule here fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.assembly.commands.flows import create_flow
from pipeline.http.site import PlatformProfile
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import Server, create_app, run_server

PEOPLE = ("viewer", "operator", "admin")
EXPORTER, IMPORTER = "/api/v1/apps/{flow}/export", "/api/v1/apps/{flow}/import"
PROFILE = ("/app/migration/", "/rest/atlassian-connect/", "/wiki/rest/")
OPEN = {
    "/healthz",
    "/readyz",
    "/api/v1/downloads/{flow}/{kind}/{name}",
    "/app/migration/uploads/{flow}/{transfer}/{upload}/{chunk}",
}
VALUES = {
    "flow": "crm",
    "movement": "1",
    "verb": "pause",
    "side": "source",
    "kind": "events",
    "transfer": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    "name": "x",
    "number": "0",
    "part": "0",
}


def allowed(method: str, path: str) -> set[str]:
    """Return who may call an operation. KeyError when there is no rule."""
    if path in OPEN:
        return {"nobody", *PEOPLE, "source", "destination", "other"}
    if path.startswith(EXPORTER):
        return {"source"}
    if path.startswith(IMPORTER):
        return {"destination"}
    if path.startswith("/app/migration/forge/v1/upload/"):
        return {"source"}
    if path.startswith(PROFILE):
        return {"destination", "other"}  # no Flow is in the path: each has its own
    if path.startswith("/api/v1/tokens"):
        return {"admin"}
    if path.startswith(("/api/v1/flows", "/api/v1/notifications")) or path == "/metrics":
        return {*PEOPLE} if method == "GET" else {*PEOPLE[1:]}
    raise KeyError(f"{method} {path} has no rule")


def filled(path: str) -> str:
    """Return a path with values in the place of its parameters."""
    return re.sub(r"\{(\w+)\}", lambda match: VALUES.get(match[1], "x"), path)


async def test_each_operation_is_for_those_whom_its_rule_names(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with run_server(tmp_path, platform=PlatformProfile()) as server:
        settings = Settings(home=tmp_path / "home")
        await create_flow("crm", "app://server", "app://cloud", settings=settings)
        await create_flow("other", "app://server", "app://cloud", settings=settings)
        tokens: dict[str, str | None] = {"nobody": None}
        tokens |= {role: await server.token(Role(role)) for role in PEOPLE}
        tokens |= {side.value: await server.app_token("crm", side) for side in Side}
        tokens["other"] = await server.app_token("other")
        _, document = await server.get("/api/v1/openapi.json")
        assert isinstance(document, dict)
        operations = [(method.upper(), path) for path, one in document["paths"].items() for method in one]
        assert len(operations) > 60
        wrong = [
            (method, path, who, status)
            for method, path in operations
            for who, token in tokens.items()
            if (who in allowed(method, path)) != ((status := await call(server, method, path, token)) not in (401, 403))
            and path not in OPEN
        ]
        assert wrong == []
        for method, path in operations:
            if path not in OPEN:
                assert await call(server, method, path, None) == 401, path


async def call(server: Server, method: str, path: str, token: str | None) -> int:
    """Return the status of a call that does nothing even where it is allowed: its body is none, or no JSON."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options: dict[str, Any] = {"headers": headers, "data": b"" if method == "GET" else b"{"}
    if path.endswith("/stream"):
        method = "HEAD"
    async with server.client.request(method, f"{server.url}{filled(path)}", **options) as answer:
        return answer.status
