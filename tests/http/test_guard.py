"""What no request gets past: another host, another site, odd paths, bodies without end, and connections that are slow."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from inspect import iscoroutinefunction
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from pipeline.cli.commands.platform.serve import OWN_PATHS
from pipeline.http.server import allow_connections
from pipeline.http.site import Limits
from tests.http.conftest import START_TOKEN, Server, run_server


async def talk(server: Server, text: str, *, end: bool = False) -> bytes:
    """Send bytes as they are, and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
    writer.write(text.encode())
    if end:
        writer.write_eof()
    try:
        with anyio.fail_after(60):
            return await reader.read()
    finally:
        writer.close()


def status(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


async def raw(server: Server, method: str, target: str, *headers: str) -> int:
    """Return the status of a request whose target is sent as it is written."""
    lines = [f"{method} {target} HTTP/1.1", f"Authorization: Bearer {START_TOKEN}", "Connection: close", *headers]
    return status(await talk(server, "\r\n".join([*lines, "", ""])))


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "crm.internal:8765", "127.0.0.1.evil.example"]
)
async def test_a_name_that_is_not_ours_is_not_served(server: Server, host: str) -> None:
    assert await raw(server, "GET", "/healthz", f"Host: {host}") == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8765", "192.0.2.7"])
async def test_an_address_or_an_allowed_name_is_served(server: Server, host: str) -> None:
    assert await raw(server, "GET", "/healthz", f"Host: {host}") == 200


@pytest.mark.parametrize("headers", [(), ("Host: localhost", "Host: localhost"), ("Host: a b",), ("Host: @localhost",)])
async def test_a_request_has_one_host(server: Server, headers: tuple[str, ...]) -> None:
    assert await raw(server, "GET", "/healthz", *headers) == 400


@pytest.mark.parametrize(
    "header",
    [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://[",
        "Origin: localhost",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
async def test_another_site_cannot_act(server: Server, header: str) -> None:
    assert await raw(server, "DELETE", "/api/v1/tokens/0123456789abcdef", "Host: localhost", header) == 403


async def test_the_own_site_can_act(server: Server) -> None:
    headers = ("Host: localhost:1", "Origin: http://localhost:1", "Sec-Fetch-Site: same-origin")
    assert await raw(server, "DELETE", "/api/v1/tokens/0123456789abcdef", *headers) == 404


async def test_a_body_whose_end_is_ambiguous_ends_the_connection(server: Server) -> None:
    """A proxy in front may see one request where there are two (request smuggling)."""
    hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    header = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await talk(server, f"{header}0\r\n\r\n{hidden}")
    assert (status(answer), answer.count(b"HTTP/1.1")) == (400, 1)


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/../v1/flows",
        "/api/v1/%2e%2e/v1/flows",
        "//api/v1/flows",
        "/api//v1/flows",
        "/api/v1/flows/..",
        "/a%5cb",
        "/a%00b",
    ],
)
async def test_a_path_has_no_tricks(server: Server, target: str) -> None:
    assert await raw(server, "GET", target, "Host: localhost") == 400


async def test_every_answer_has_the_headers_that_a_browser_needs(server: Server) -> None:
    for path in ("/healthz", "/api/v1/flows", "/nope"):
        async with server.client.get(f"{server.url}{path}") as answer:
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    code, _ = await server.request("POST", "/api/v1/tokens", data=b"x" * 10_001)
    assert code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/export/1/end"), ("POST", "/export/1/streams/a/files/1"), ("PUT", "/import/1/status")],
)
async def test_only_files_may_be_large(tmp_path: Path, method: str, path: str) -> None:
    async with run_server(tmp_path, limits=replace(Limits(), report_bytes=1000)) as server:
        body = b"[" + b" " * 2000 + b"]"
        headers = {"Content-Type": "application/json"}
        code, _ = await server.request(method, f"/api/v1/apps/crm{path}", None, data=body, headers=headers)
        assert code == 413
        code, _ = await server.request("PUT", "/api/v1/apps/crm/export/1/streams/a/files/1", None, data=body)
        assert code == 401


async def test_a_body_without_end_is_cut_off(server: Server) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1000

    sent = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in endless():
            sent += len(piece)
            yield piece

    code, _ = await server.request("POST", "/api/v1/tokens", data=counted())
    assert code == 413
    assert sent < 20_000_000


async def test_a_body_that_stops_coming_is_given_up(server: Server) -> None:
    lines = ["POST /api/v1/tokens HTTP/1.1", "Host: localhost", f"Authorization: Bearer {START_TOKEN}"]
    answer = await talk(server, "\r\n".join([*lines, "Content-Length: 100", "Connection: close", "", "{"]))
    assert status(answer) == 408


async def test_what_a_client_gets_wrong_is_no_mistake_of_the_server(server: Server) -> None:
    lines = ["POST /login HTTP/1.1", "Host: localhost", "Content-Length: 100", "Connection: close", "", "token="]
    form = "&".join(f"field{number}=" for number in range(101))
    with capture_logs() as logs:
        await talk(server, "\r\n".join(lines), end=True)
        async with server.client.post(f"{server.url}/login", data=form) as answer:
            assert (answer.status, "at most 100 fields" in await answer.text()) == (422, True)
        for wrong in ({"name": "\ud800"}, {"name": "x", "scopes": ["\ud800"]}):
            body = json.dumps({"role": "app", "flow": "crm", "side": "source", **wrong})
            headers = {"Content-Type": "application/json"}
            assert (await server.request("POST", "/api/v1/tokens", data=body, headers=headers))[0] == 422
    assert [one for one in logs if one["event"] == "request_failed"] == []


async def test_slow_connections_end_and_others_are_served(tmp_path: Path) -> None:
    async with run_server(tmp_path, limits=replace(Limits(), header_seconds=1.0)) as server:
        port = urlsplit(server.url).port
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        for _, writer in slow:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: local")
        assert (await server.get("/healthz"))[0] == 200
        with anyio.fail_after(60):
            for reader, writer in slow:
                assert await reader.read() == b""
                writer.close()


def test_no_route_depends_on_what_runs_in_a_thread() -> None:
    def calls(dependant: Dependant) -> Iterator[object]:
        for one in dependant.dependencies:
            yield one.call
            yield from calls(one)

    routers = [
        getattr(module, "router", None) for name, module in sys.modules.items() if name.startswith("pipeline.http.")
    ]
    routes = [route for one in routers if one is not None for route in one.routes if isinstance(route, APIRoute)]
    assert len(routes) > 70
    found = {route.endpoint for route in routes} | {call for route in routes for call in calls(route.dependant)}
    assert [call for call in found if not iscoroutinefunction(call)] == []


def test_no_public_url_begins_as_a_path_of_the_server() -> None:
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith(("pipeline.http.pages.", "pipeline.http.platform."))
    ]
    routers = [one for module in modules for one in vars(module).values() if isinstance(one, APIRouter)]
    paths = [route.path for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(paths) > 20
    assert {path.split("/")[1] for path in paths} - {"", ".well-known"} <= OWN_PATHS


@pytest.mark.parametrize("error", [ValueError("not allowed to raise maximum limit"), OSError("not permitted")])
def test_a_system_that_allows_no_more_connections_keeps_nobody_from_serving(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("resource.setrlimit", refuse)
    allow_connections()
