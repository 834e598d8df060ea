"""Templates as answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from pipeline.domain.ids import encode_name
from pipeline.http.pages.views import tone
from pipeline.http.tokens import Identity, Role
from pipeline.wording import duration, moment, size

TEMPLATES = Path(__file__).with_name("templates")
STATIC = Path(__file__).with_name("static")


@dataclass(frozen=True, slots=True)
class Who:
    """The person who looks at a page."""

    name: str
    role: str
    may_operate: bool
    may_admin: bool

    @classmethod
    def of(cls, identity: Identity) -> Who:
        """Return what pages need of an identity."""
        return cls(identity.name, identity.role.value, identity.may(Role.OPERATOR), identity.may(Role.ADMIN))


def segment(name: str) -> str:
    """Return a name as a segment of a path."""
    return quote(encode_name(name), safe="")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "duration": duration,
        "moment": moment,
        "size": size,
        "tone": tone,
        "segment": segment,
    }
    return environment


def page(
    name: str, who: Identity | None, *, status: int = HTTPStatus.OK, said: str = "", **values: object
) -> HTMLResponse:
    """Return a page."""
    person = Who.of(who) if who else None
    html = _environment().get_template(f"{name}.html").render(who=person, said=said, **values)
    return HTMLResponse(html, status)
