"""A provider of OpenID Connect on a socket, for tests. It logs in everybody, and may lie in one way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "pipeline", "client secret"


@dataclass
class OidcProvider:
    """A provider: `claims` are those of the person who logs in; `change` may alter a token before it is signed."""

    now: Callable[[], datetime]
    url: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "1", "email": "ada@example.org", "roles": ["operator"]}
    )
    change: Callable[[dict[str, Any]], None] = lambda _claims: None
    header: dict[str, str] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    key: Any = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    signing_key: Any = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    async def discovery(self, _request: web.Request) -> web.Response:
        """Describe the provider."""
        endpoints = {name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        return web.json_response({"issuer": self.url, **endpoints})

    async def keys(self, _request: web.Request) -> web.Response:
        """Return the public keys."""
        return web.json_response(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request: web.Request) -> web.Response:
        """Send the browser back with a code."""
        code = f"code{len(self.codes)}"
        self.codes[code] = dict(request.query)
        query = urlencode({"code": code, "state": request.query["state"]})
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{query}")

    async def token(self, request: web.Request) -> web.Response:
        """Take a code, once, from the client that it was made for."""
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        if (
            asked is None
            or (form["client_id"], form["client_secret"], form["redirect_uri"])
            != (CLIENT, SECRET, asked["redirect_uri"])
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.now().timestamp())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.claims}
        self.change(claims)
        key = self.signing_key or self.key
        algorithms = ["RS256", "HS256", "none"]
        return web.json_response({"id_token": jwt.encode(self.header, claims, key, algorithms=algorithms)})


@asynccontextmanager
async def run_provider(now: Callable[[], datetime]) -> AsyncIterator[OidcProvider]:
    """Run a provider on a free port of this machine."""
    provider = OidcProvider(now)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", provider.discovery)
    app.router.add_get("/jwks_uri", provider.keys)
    app.router.add_get("/authorization_endpoint", provider.authorize)
    app.router.add_post("/token_endpoint", provider.token)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield provider
    finally:
        await runner.cleanup()
