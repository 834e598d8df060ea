"""A provider of OpenID Connect: it logs people in, and says who they are.

The authorization code flow with PKCE, as OpenID Connect Core 1.0 and RFC 7636 describe it.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from pipeline.domain.errors import RefusedError, TransientError
from pipeline.http.site import OidcAuth
from pipeline.http.tokens import Identity, Role

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
"""Signatures that are accepted: those with a public key."""
LEEWAY_SECONDS = 60
MOST_BYTES = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_NAMES = ("email", "preferred_username", "sub")
"""The claims that may be the name of a person, the best first."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """What a log-in must come back with: kept by the browser, sealed, until then."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> LogIn:
        """Return one that nobody can guess."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


class Provider:
    """A provider, as its discovery document describes it now."""

    def __init__(self, auth: OidcAuth, client: aiohttp.ClientSession, document: Mapping[str, Any]) -> None:
        self._auth, self._client, self._document = auth, client, document

    @classmethod
    async def find(cls, auth: OidcAuth, client: aiohttp.ClientSession) -> Provider:
        """Read the discovery document. RefusedError when it is that of another issuer."""
        url = f"{auth.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await _json(client.get(url, timeout=_TIMEOUT, allow_redirects=False), url)
        if document.get("issuer") != auth.issuer:
            raise RefusedError(
                f"{url} is the document of another issuer. Give --oidc-issuer exactly as it names itself."
            )
        return cls(auth, client, document)

    def log_in_url(self, log_in: LogIn, callback: str) -> str:
        """Return where a person logs in."""
        challenge = urlsafe_b64encode(sha256(log_in.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._auth.client_id,
            "redirect_uri": callback,
            "scope": self._auth.scope,
            "state": log_in.state,
            "nonce": log_in.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def identify(self, code: str, log_in: LogIn, callback: str, now: datetime) -> Identity:
        """Return who has logged in. RefusedError when the provider's word does not hold, or gives no role."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": log_in.verifier,
            "client_id": self._auth.client_id,
            "client_secret": self._auth.client_secret,
        }
        url = self._endpoint("token_endpoint")
        answer = await _json(self._client.post(url, data=form, timeout=_TIMEOUT, allow_redirects=False), url)
        claims = await self._verified(str(answer.get("id_token", "")), log_in.nonce, now)
        name = next((str(claims[one]) for one in _NAMES if claims.get(one)), "")
        return Identity(name[:200], self._role(claims, name))

    async def _verified(self, text: str, nonce: str, now: datetime) -> Mapping[str, Any]:
        url = self._endpoint("jwks_uri")
        keys = await _json(self._client.get(url, timeout=_TIMEOUT, allow_redirects=False), url)
        registry = JWTClaimsRegistry(
            int(now.timestamp()),
            LEEWAY_SECONDS,
            iss={"essential": True, "value": self._auth.issuer},
            aud={"essential": True, "value": self._auth.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            claims: dict[str, Any] = jwt.decode(text, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims  # type: ignore[arg-type]
            registry.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise RefusedError(
                f"What {self._auth.issuer} says of this person is not valid: {error}. Log in again."
            ) from error
        if claims.get("azp", self._auth.client_id) != self._auth.client_id:
            raise RefusedError(f"What {self._auth.issuer} says is meant for another client. Log in again.")
        return claims

    def _role(self, claims: Mapping[str, Any], name: str) -> Role:
        """Return the highest role that the claim names."""
        named = claims.get(self._auth.role_claim)
        values = named if isinstance(named, list) else str(named or "").split()
        for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER):
            if role.value in values:
                return role
        raise RefusedError(
            f"{name} has no role here: the claim {self._auth.role_claim!r} names none of viewer, operator and admin. Let "
            f"{self._auth.issuer} give it one, or name another claim with --oidc-role-claim."
        )

    def _endpoint(self, name: str) -> str:
        url = self._document.get(name)
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise RefusedError(f"The discovery document of {self._auth.issuer} has no {name}.")
        return url


async def _json(asking: Any, url: str) -> dict[str, Any]:
    """Return the JSON object that a request is answered with. TransientError when there is none."""
    try:
        async with asking as answer:
            data = b""
            async for piece in answer.content.iter_chunked(MOST_BYTES):
                data += piece
                if len(data) > MOST_BYTES:
                    raise RefusedError(f"{url} answers with more than {MOST_BYTES:,} bytes.")
            found = orjson.loads(data) if answer.status == HTTPStatus.OK else None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise TransientError(
            f"{url} does not answer as a provider of OpenID Connect: {str(error) or 'no answer'}."
        ) from error
    if not isinstance(found, dict):
        raise RefusedError(f"{url} answers with {answer.status}. Look at the settings of the client there.")
    return found
