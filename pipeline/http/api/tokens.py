"""Tokens: an admin makes, lists and revokes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline.http.access import Admin
from pipeline.http.api.models import Page
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Role, Side, Token
from pipeline.log_events import log

MOST_SCOPES = 100

router = APIRouter(prefix="/tokens", tags=["tokens"])


class TokenRequest(BaseModel):
    """A token to make. `flow` and `side` are for the role `app`, and needed there; `scopes` limit it to these kinds of data."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    name: str = Field(min_length=1, max_length=200)
    days: float = Field(strict=True, default=90, gt=0, le=3650)
    flow: str = Field(default="", max_length=1000)
    side: Side | None = None
    scopes: list[str] = Field(default_factory=list, max_length=MOST_SCOPES)


class TokenModel(BaseModel):
    """A token, without its text."""

    id: str
    role: Role
    name: str
    flow: str
    side: Side | None
    scopes: list[str]
    created: datetime
    created_by: str
    expires: datetime
    revoked: datetime | None
    revoked_by: str

    @classmethod
    def of(cls, token: Token) -> TokenModel:
        """Return the document of a token."""
        return cls(
            **{name: getattr(token, name) for name in cls.model_fields if name != "scopes"}, scopes=[*token.scopes]
        )


class NewTokenModel(TokenModel):
    """A new token. `token` is its text, which is shown this once."""

    token: str


@router.post("", status_code=HTTPStatus.CREATED)
async def create_token(request: Request, who: Admin, wanted: TokenRequest) -> NewTokenModel:
    """Make a token. Its text is in the answer, and nowhere else."""
    token, text = await make(site_of(request), who, wanted)
    return NewTokenModel(**TokenModel.of(token).model_dump(), token=text)


async def make(site: Site, who: Identity, wanted: TokenRequest) -> tuple[Token, str]:
    """Make a token for a person, and record it; return it and its text."""
    token, text = await site.tokens.create(
        wanted.role,
        wanted.name,
        by=who.name,
        life=timedelta(days=wanted.days),
        flow=wanted.flow,
        side=wanted.side,
        scopes=wanted.scopes,
    )
    log.info("token_created", token=token.id, role=token.role.value, name=token.name, by=who.name)
    return token, text


@router.get("")
async def list_tokens(request: Request, _: Admin) -> Page[TokenModel]:
    """List all tokens, the newest first."""
    return Page(items=[TokenModel.of(token) for token in await site_of(request).tokens.list_tokens()])


@router.delete("/{token}")
async def revoke_token(request: Request, who: Admin, token: str) -> TokenModel:
    """Revoke a token. It ends at once, on every server."""
    return TokenModel.of(await revoke(site_of(request), who, token))


async def revoke(site: Site, who: Identity, token: str) -> Token:
    """Revoke a token for a person, and record it; return it."""
    revoked = await site.tokens.revoke(token, by=who.name)
    log.info("token_revoked", token=revoked.id, by=who.name)
    return revoked
