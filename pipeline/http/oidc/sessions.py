"""Sealed texts that a browser keeps for the server: who has logged in, and a log-in under way.

They are JSON Web Tokens with the key of the bucket, so that any server over it can read them, and nothing is kept in one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from pipeline.http.links import signing_key
from pipeline.http.site import Site
from pipeline.http.tokens import SESSION_MARK, Identity, Role

LIFE = timedelta(hours=8)
"""How long a person stays logged in."""
_ALGORITHM = "HS256"
Purpose = Literal["session", "login"]


class Sealer:
    """Seals and opens texts. A text that was altered, is too old or is for another purpose does not open."""

    def __init__(self, key: bytes, site: Site) -> None:
        self._key, self._site = key, site

    @classmethod
    async def of(cls, site: Site) -> Sealer:
        """Return the sealer of a site."""
        return cls(await signing_key(site.runtime.store), site)

    def seal(self, purpose: Purpose, claims: Mapping[str, Any], life: timedelta) -> str:
        """Return a text that opens for so long."""
        until = int((self._site.clock.now() + life).timestamp())
        return jwt.encode({"alg": _ALGORITHM}, {**claims, "exp": until}, self._of(purpose))

    def open(self, purpose: Purpose, text: str) -> Mapping[str, Any] | None:
        """Return what was sealed; None when the text does not open."""
        try:
            claims: dict[str, Any] = jwt.decode(text, self._of(purpose), algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            return None
        until = claims.get("exp")
        return claims if isinstance(until, int) and self._site.clock.now().timestamp() < until else None

    def _of(self, purpose: Purpose) -> OctKey:
        return OctKey.import_key(hmac.new(self._key, purpose.encode(), hashlib.sha256).digest())


async def open_session(site: Site, text: str) -> Identity | None:
    """Return who has logged in with this session; None when it is not valid, or over."""
    claims = (await Sealer.of(site)).open("session", text.removeprefix(SESSION_MARK))
    return None if claims is None else Identity(claims["name"], Role(claims["role"]))


async def begin_session(site: Site, who: Identity) -> str:
    """Return the text of a new session."""
    sealer = await Sealer.of(site)
    return SESSION_MARK + sealer.seal("session", {"name": who.name, "role": who.role.value}, LIFE)
