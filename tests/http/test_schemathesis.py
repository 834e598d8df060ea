"""schemathesis, which reads the OpenAPI document and sends what it allows and what it does not, finds nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from pipeline.assembly.commands.move import move
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server, create_app, run_server
from tests.http.flows import working
from tests.http.test_uploading import App

pytestmark = pytest.mark.slow
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "missing_required_header",
    "ignored_auth",
]
STREAM = "stream$"
"""It never ends."""


async def attack(server: Server, token: str, paths: str, parameters: dict[str, object]) -> str:
    """Run schemathesis on the operations of some paths; return what it says if it finds something, or tests nothing."""
    config = server.directory / "schemathesis.toml"
    config.write_text("[parameters]\n" + "".join(f'"path.{name}" = {value!r}\n' for name, value in parameters.items()))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    options = {
        "--checks": ",".join(CHECKS),
        "--phases": "coverage,fuzzing",
        "--max-examples": "10",
        "--include-path-regex": paths,
        "--exclude-path-regex": STREAM,
        "--header": f"Authorization: Bearer {token}",
        "--suppress-health-check": "all",
        "--warnings": "off",
        "--seed": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        f"{server.url}/api/v1/openapi.json",
        *[part for option in options.items() for part in option],
        "--continue-on-failure",
        cwd=server.directory,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 200)
    if process.returncode == 0 and b" passed" in said:
        return ""
    return "\n".join(line[:200] for line in said.decode().splitlines()[-100:])


async def test_nothing_is_found_in_what_people_call(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    await move(tmp_path / "app.db", tmp_path / "copy.db", flow="crm", settings=Settings(home=tmp_path / "home"))
    parameters = {"flow": "crm", "number": 1, "file": "1/person/full/0"}
    async with run_server(tmp_path) as server:
        paths = "^/(api/v1/(flows|tokens|downloads)|healthz|readyz)"
        assert await attack(server, START_TOKEN, paths, parameters) == ""


@pytest.mark.parametrize("side", Side)
async def test_nothing_is_found_in_what_apps_call(tmp_path: Path, side: Side) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app://server", "app://cloud") as (server, _):
        source = App(server, await server.token(Role.APP, "crm", Side.SOURCE))
        await source.begin()
        parameters = {"flow": "crm", "number": source.number, "stream": "person", "label": "person"}
        token = await server.token(Role.APP, "crm", side)
        paths = "export" if side is Side.SOURCE else "import"
        assert await attack(server, token, f"^/api/v1/apps/.*/{paths}", parameters) == ""


async def test_a_server_that_breaks_its_document_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.http.problems.MEDIA_TYPE", "text/plain")
    async with run_server(tmp_path) as server:
        assert "Undocumented Content-Type" in await attack(server, START_TOKEN, "^/api/v1/flows", {"flow": "crm"})
