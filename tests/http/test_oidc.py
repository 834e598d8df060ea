"""Logging in with OpenID Connect: who is let in, and whose word does not count."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc.jwk import OctKey, RSAKey

from pipeline.http.site import OidcAuth
from tests.http.conftest import Server, run_server
from tests.http.oidc_provider import CLIENT, SECRET, OidcProvider, run_provider


@dataclass
class Browser:
    """A person's browser, with the server and the provider."""

    server: Server
    provider: OidcProvider
    client: aiohttp.ClientSession

    async def log_in(self) -> tuple[int, str]:
        """Follow the link to log in to its end."""
        async with self.client.get(f"{self.server.url}/login/oidc") as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        """Return a page or document."""
        async with self.client.get(f"{self.server.url}{path}", allow_redirects=False) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser that has not logged in."""
    clock: list[Server] = []
    jar = aiohttp.CookieJar(unsafe=True)
    async with run_provider(lambda: clock[0].clock.now()) as provider:
        auth = OidcAuth(provider.url, CLIENT, SECRET)
        async with run_server(tmp_path, oidc=auth) as server, aiohttp.ClientSession(cookie_jar=jar) as client:
            clock.append(server)
            yield Browser(server, provider, client)


async def test_a_person_logs_in_with_a_role_and_for_eight_hours(browser: Browser) -> None:
    assert "/login/oidc" in (await browser.get("/login"))[1]
    assert (await browser.get("/api/v1/flows"))[0] == 401
    status, page = await browser.log_in()
    assert (status, 'content="0;url=/"' in page) == (200, True)
    assert "ada@example.org" in (await browser.get("/"))[1]
    assert (await browser.get("/api/v1/flows"))[0] == 200
    assert (await browser.get("/api/v1/tokens"))[0] == 403
    browser.server.clock.moment += timedelta(hours=8, seconds=1)
    assert (await browser.get("/api/v1/flows"))[0] == 401


async def test_the_highest_role_counts_and_without_one_nobody_is_let_in(browser: Browser) -> None:
    for roles in ([], ["owner"], "", None, ["app"]):
        browser.provider.claims["roles"] = roles
        status, page = await browser.log_in()
        assert (status, "has no role here" in page) == (403, True)
        assert (await browser.get("/api/v1/flows"))[0] == 401
    browser.provider.claims["roles"] = ["viewer", "admin"]
    assert (await browser.log_in())[0] == 200
    assert (await browser.get("/api/v1/tokens"))[0] == 200


def _set(**claims: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found.update(claims)


@pytest.mark.parametrize(
    "change",
    [
        _set(iss="https://evil.example"),
        _set(aud="another client"),
        _set(aud=["pipeline", "other"], azp="other"),
        _set(nonce="of another log-in"),
        _set(exp=1),
        lambda found: found.pop("exp"),
        lambda found: found.pop("nonce"),
        lambda found: found.pop("aud"),
    ],
)
async def test_a_token_that_does_not_say_what_it_must_counts_for_nothing(
    browser: Browser, change: Callable[[dict[str, Any]], None]
) -> None:
    browser.provider.change = change
    assert (await browser.log_in())[0] == 403
    assert (await browser.get("/api/v1/flows"))[0] == 401


@pytest.mark.parametrize("forged", ["another key", "none", "the public key as a secret"])
async def test_a_forged_token_counts_for_nothing(browser: Browser, forged: str) -> None:
    provider = browser.provider
    if forged == "another key":
        provider.signing_key = RSAKey.generate_key(2048, {"kid": "one"})
    elif forged == "none":
        provider.header = {"alg": "none"}
    else:
        provider.header = {"alg": "HS256", "kid": "one"}
        provider.signing_key = OctKey.import_key(provider.key.as_pem(private=False).replace(b"-----", b""))
    assert (await browser.log_in())[0] == 403
    assert (await browser.get("/api/v1/flows"))[0] == 401


async def test_a_log_in_that_was_not_begun_here_counts_for_nothing(browser: Browser) -> None:
    for query in ("", "?state=x&code=code0", "?state=&code=code0"):
        assert (await browser.get(f"/login/oidc/callback{query}"))[0] == 403
    async with browser.client.get(f"{browser.server.url}/login/oidc", allow_redirects=False) as answer:
        there = answer.headers["location"]
        assert "code_challenge_method=S256" in there
        assert "secret" not in there
    async with browser.client.get(there, allow_redirects=False) as answer:
        back = answer.headers["location"].removeprefix(browser.server.url)
    for wrong in (back.replace("state=", "state=x"), back.replace("code0", "code9")):
        assert (await browser.get(wrong))[0] in (403, 502)
    assert (await browser.get("/login/oidc/callback?error=access_denied"))[0] == 403
    assert (await browser.get(back))[0] == 200
    assert (await browser.get(back))[0] == 403


async def test_a_session_that_was_altered_is_none(browser: Browser) -> None:
    await browser.log_in()
    [cookie] = [one for one in browser.client.cookie_jar if one.key == "pipeline_token"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "strict")
    for text in (cookie.value[:-2], f"{cookie.value}x", "pls_", "pls_a.b.c", cookie.value.replace(".", ".x", 1)):
        status, _ = await browser.server.get("/api/v1/flows", text)
        assert status == 401
    assert (await browser.server.get("/api/v1/flows", cookie.value))[0] == 200


async def test_a_provider_that_does_not_answer_is_named(browser: Browser) -> None:
    browser.provider.url = "https://another.example"
    status, page = await browser.log_in()
    assert (status, "another issuer" in page) == (502, True)
