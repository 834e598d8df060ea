"""Signatures of the platform's events: a token in `Authorization` says who sends one, and for which app.

Connect apps know a shared secret, and get a JSON Web Token of theirs, which also names the request. Forge apps get an
invocation token, whose signature they verify with the public key at `JWKS`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter, Request
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import ObjectKey
from pipeline.http.site import PlatformProfile, site_of
from pipeline.ports.object_store import ObjectStore, PutCondition

KEY = ObjectKey("serve/platform-key.pem")
"""One key for all servers over a bucket."""
KEY_BITS = 2048
JWKS = "/.well-known/jwks.json"
FORGE_ISSUER = "forge/invocation-token"
router = APIRouter(tags=["platform"])
CONNECT_LIFE, FORGE_LIFE = timedelta(minutes=3), timedelta(seconds=25)


class EventSigner(Protocol):
    """Signs events."""

    def headers(self, url: str, event: Mapping[str, Any], now: datetime) -> Mapping[str, str]:
        """Return the headers of a POST of an event to this URL."""
        ...


class ConnectSigner:
    """Signs with the secret that the app shares."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret)

    def headers(self, url: str, event: Mapping[str, Any], now: datetime) -> Mapping[str, str]:
        """Return a token that names the source and destination of the transfer, and the request by its hash."""
        issuer = event["migrationDetails"]["migrationScopeId"]
        claims = {"iss": issuer, "iat": _stamp(now), "exp": _stamp(now + CONNECT_LIFE), "qsh": query_hash("POST", url)}
        return {"authorization": f"JWT {jwt.encode({'alg': 'HS256', 'typ': 'JWT'}, claims, self._key)}"}


class ForgeSigner:
    """Signs with the key of the bucket, for one app."""

    def __init__(self, key: RSAKey, app: str) -> None:
        self._key, self._app = key, app

    def headers(self, url: str, event: Mapping[str, Any], now: datetime) -> Mapping[str, str]:
        """Return an invocation token, and the headers of a trace: the message is the trace."""
        details = event["migrationDetails"]
        claims = {
            "iss": FORGE_ISSUER,
            "aud": self._app,
            "iat": _stamp(now),
            "exp": _stamp(now + FORGE_LIFE),
            "jti": secrets.token_hex(16),
            "app": {
                "id": self._app,
                "installationId": details["migrationScopeId"],
                "environment": {"type": "DEVELOPMENT", "id": details["migrationId"]},
            },
            "context": {"cloudId": details["migrationScopeId"]},
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key.thumbprint()}
        return {
            "authorization": f"Bearer {jwt.encode(header, claims, self._key)}",
            "x-b3-traceid": str(event["messageId"]).replace("-", ""),
            "x-b3-spanid": secrets.token_hex(8),
        }


async def signer_of(profile: PlatformProfile, store: ObjectStore) -> EventSigner:
    """Return what signs the events of a profile that has a secret or an app."""
    return ConnectSigner(profile.secret) if profile.secret else ForgeSigner(await _key(store), profile.app_id)


@router.get(JWKS)
async def read_keys(request: Request) -> dict[str, Any]:
    """Return the keys with which Forge apps verify invocation tokens, as a JSON Web Key Set."""
    key = await _key(site_of(request).runtime.store)
    return {"keys": [{**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": "RS256"}]}


def query_hash(method: str, url: str) -> str:
    """Return the hash of a request as Connect has it: of the method, the path and the sorted query, joined by `&`."""
    parts = urlsplit(url)
    path = (parts.path.rstrip("/") or "/").replace("&", "%26")
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "jwt":
            values.setdefault(_encoded(name), []).append(_encoded(value))
    query = "&".join(f"{name}={','.join(sorted(values[name]))}" for name in sorted(values))
    return hashlib.sha256(f"{method}&{path}&{query}".encode()).hexdigest()


def _encoded(text: str) -> str:
    return quote(text, safe="-._~")


def _stamp(moment: datetime) -> int:
    return int(moment.timestamp())


async def _key(store: ObjectStore) -> RSAKey:
    """Return the key of the bucket; the first server that needs it makes it."""
    try:
        stored = await store.get(KEY)
    except AbsentError:
        made = RSAKey.generate_key(KEY_BITS).as_pem(private=True)
        with suppress(ConflictError):  # another server was first
            await store.put(KEY, made, PutCondition.ABSENT)
        stored = await store.get(KEY)
    return RSAKey.import_key(stored.data)
