"""Tokens of people and apps. The store keeps their hashes; the text of a token is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import orjson
from msgspec import Struct
from msgspec.structs import replace

from pipeline.codec.wire import Time, decode_document, to_document
from pipeline.domain.errors import AbsentError, ConfigurationError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages

PREFIX = "tokens/"
MARK = "plt"
"""What every token begins with, so that scanners for secrets find it."""
SESSION_MARK = "pls_"
"""What the text of a session begins with, to tell it from a token."""
LONGEST_LIFE = timedelta(days=3650)


class Role(StrEnum):
    """What a token may do. A viewer reads, an operator also runs Movements, an admin also makes tokens."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    APP = "app"
    """One app: one side of one Flow."""


class Side(StrEnum):
    """The side of a Flow that an app is."""

    SOURCE = "source"
    DESTINATION = "destination"


class Token(Struct, frozen=True, forbid_unknown_fields=False):
    """A token as it is stored. `flow` and `side` are those of an app; `hash` is the SHA-256 of the secret.

    `flow_created` is when the Flow was created: one that is created later under its name is another. Earlier releases have
    not stored it.
    """

    id: str
    hash: str
    role: Role
    name: str
    created: Time
    expires: Time
    created_by: str
    flow: str = ""
    side: Side | None = None
    scopes: tuple[str, ...] = ()
    revoked: Time | None = None
    revoked_by: str = ""
    flow_created: Time | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request, and what they may do. `name` is recorded with every action."""

    name: str
    role: Role
    flow: FlowName | None = None
    side: Side | None = None
    scopes: tuple[str, ...] = ()

    def may(self, role: Role) -> bool:
        """Whether this person has at least this role. An app has none of a person's roles."""
        ranks = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
        return self.role in ranks and ranks.index(self.role) >= ranks.index(role)


class TokenStore:
    """The tokens in a bucket. Every process reads them at each request, so that a revoked one ends at once."""

    def __init__(self, store: ObjectStore, flows: FlowStore, clock: Clock) -> None:
        self._store, self._flows, self._clock = store, flows, clock

    async def create(
        self,
        role: Role,
        name: str,
        *,
        by: str,
        life: timedelta,
        flow: str = "",
        side: Side | None = None,
        scopes: Sequence[str] = (),
    ) -> tuple[Token, str]:
        """Store a new token; return it, and its text, which nothing can show again.

        ConfigurationError when an app's token names no side of a Flow that there is, or another names one.
        """
        _ensure_fits(role, flow, side, life, scopes)
        _ensure_text(name, *scopes)
        flow_created = await self._created(flow) if flow else None
        if flow and flow_created is None:
            raise ConfigurationError(
                f"There is no Flow named {flow!r} here. Create it, then make the token. `pipeline status` lists the Flows."
            )
        secret, number = secrets.token_urlsafe(32), secrets.token_hex(8)
        now = self._clock.now()
        token = Token(
            number,
            _hash(secret),
            role,
            name,
            now,
            now + life,
            by,
            flow=flow,
            side=side,
            scopes=tuple(scopes),
            flow_created=flow_created,
        )
        await self._store.put(_key(number), _encode(token), PutCondition.ABSENT)
        return token, f"{MARK}_{number}_{secret}"

    async def identify(self, text: str) -> Identity | None:
        """Return whose token this is; None when there is none, or when it has expired, is revoked, or its Flow is gone."""
        mark, _, rest = text.partition("_")
        number, _, secret = rest.partition("_")
        if mark != MARK or not secret or not _is_number(number):
            return None
        try:
            token = await self._read(number)
        except AbsentError:
            return None
        if not hmac.compare_digest(token.hash, _hash(secret)):
            return None
        if token.revoked is not None or self._clock.now() >= token.expires or not await self._has_flow(token):
            return None
        return Identity(token.name, token.role, FlowName(token.flow) if token.flow else None, token.side, token.scopes)

    async def list_tokens(self) -> Sequence[Token]:
        """Return all tokens, the newest first."""
        found = [
            await self._read(info.key.removeprefix(PREFIX).removesuffix(".json"))
            async for page in list_pages(self._store, PREFIX)
            for info in page
        ]
        return sorted(found, key=lambda token: token.created, reverse=True)

    async def revoke(self, number: str, *, by: str) -> Token:
        """Revoke a token at once; return it. A revoked one stays as it is. AbsentError when there is none."""
        if not _is_number(number):
            raise AbsentError(_absent(number))
        token = await self._read(number)
        if token.revoked is None:
            token = replace(token, revoked=self._clock.now(), revoked_by=by)
            await self._store.put(_key(number), _encode(token), PutCondition.NONE)
        return token

    async def _has_flow(self, token: Token) -> bool:
        """Whether the Flow of a token is there, if it has one: not another one that was created later under its name."""
        if not token.flow:
            return True
        created = await self._created(token.flow)
        if created is None or token.flow_created is None:
            return created is not None and created <= token.created
        return created == token.flow_created

    async def _created(self, flow: str) -> datetime | None:
        """Return when a Flow was created; None when there is none."""
        try:
            return (await self._flows.read_flow(FlowName(flow))).created
        except AbsentError:
            return None

    async def _read(self, number: str) -> Token:
        key = _key(number)
        try:
            return decode_document((await self._store.get(key)).data, Token, key)
        except AbsentError:
            raise AbsentError(_absent(number)) from None


def _ensure_fits(role: Role, flow: str, side: Side | None, life: timedelta, scopes: Sequence[str]) -> None:
    if (role is Role.APP) != bool(flow and side):
        raise ConfigurationError(
            "A token with the role app needs a Flow and a side, source or destination; other roles have neither."
        )
    if scopes and (role is not Role.APP or not all(scopes)):
        raise ConfigurationError(
            "Scopes are for a token with the role app: kinds of data, such as pii. Other roles have none."
        )
    if not timedelta() < life <= LONGEST_LIFE:
        raise ConfigurationError(f"A token lives from one second to {LONGEST_LIFE.days} days.")


def _ensure_text(*texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"{text[:80]!r} is not Unicode text. Choose another name or scope.") from None


def _key(number: str) -> ObjectKey:
    return ObjectKey(f"{PREFIX}{number}.json")


def _is_number(text: str) -> bool:
    return len(text) == 16 and all(character in "0123456789abcdef" for character in text)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _encode(token: Token) -> bytes:
    return orjson.dumps(to_document(token), option=orjson.OPT_INDENT_2)


def _absent(number: str) -> str:
    return f"There is no token {number[:40]!r}. `pipeline token list` lists them."
