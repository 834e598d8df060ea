"""Signed links. With one, anybody may download one object until it expires. No token is in it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import FlowName, ObjectKey, encode_name
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site
from pipeline.ports.object_store import ObjectStore, PutCondition

KEY = ObjectKey("serve/signing-key")
"""One key for all servers over a bucket."""
LIFE = timedelta(hours=1)


class Links:
    """Makes and checks links with the key of the bucket."""

    def __init__(self, key: bytes, site: Site) -> None:
        self._key, self._site = key, site

    @classmethod
    async def of(cls, site: Site) -> Links:
        """Return the links of a site; the first server over a bucket makes the key."""
        return cls(await signing_key(site.runtime.store), site)

    def make(self, flow: FlowName, kind: str, name: str) -> tuple[str, datetime]:
        """Return the path and query of a link to a file, `kind` "events" or "binaries", and when it expires.

        They begin with the path below which the server is reached.
        """
        expires = (self._site.clock.now() + LIFE).replace(microsecond=0)
        path = f"{self._site.root}/api/v1/downloads/{quote(encode_name(flow))}/{kind}/{quote(name)}"
        return f"{path}?{self.query(flow, kind, name, expires)}", expires

    def query(self, flow: FlowName, kind: str, name: str, expires: datetime) -> str:
        """Return the query of a link that is valid until then."""
        stamp = int(expires.timestamp())
        return f"expires={stamp}&signature={self._signature(flow, kind, name, stamp)}"

    def check(self, flow: FlowName, kind: str, name: str, expires: int, signature: str) -> None:
        """ProblemError when a link is altered, or has expired."""
        if not hmac.compare_digest(self._signature(flow, kind, name, expires).encode(), signature.encode()):
            raise ProblemError(HTTPStatus.FORBIDDEN, "The signature of this link is not valid. Ask for a new link.")
        if self._site.clock.now().timestamp() >= expires:
            raise ProblemError(HTTPStatus.FORBIDDEN, "This link has expired. Ask for a new one.")

    def _signature(self, flow: FlowName, kind: str, name: str, expires: int) -> str:
        text = "\n".join((flow, kind, name, str(expires)))
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def signing_key(store: ObjectStore) -> bytes:
    """Return the key that all servers over a bucket sign with."""
    try:
        return (await store.get(KEY)).data
    except AbsentError:
        with suppress(ConflictError):  # another server was first
            await store.put(KEY, secrets.token_bytes(32), PutCondition.ABSENT)
        return (await store.get(KEY)).data
