"""Templates as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipeline.domain.ids import encode_name
from pipeline.http.pages.views import tone
from pipeline.http.site import ROOT, site_of
from pipeline.http.tokens import Identity, Role
from pipeline.wording import duration, moment, size

TEMPLATES = Path(__file__).with_name("templates")
STATIC = Path(__file__).with_name("static")
_HEADERS = {"cache-control": "no-store"}


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
    environment.globals["root"] = ROOT.get  # macros are imported without the values of a page
    return environment


def is_look(request: Request) -> bool:
    """Whether a page that is shown asks for its live part."""
    return request.headers.get("hx-request") == "true"


async def live_page(
    request: Request, who: Identity, name: str, seconds: float, read: Callable[[], Awaitable[Mapping[str, object]]]
) -> HTMLResponse:
    """Return a page whose part `NAME_live.html` follows what happens: it asks for the part again after `seconds`, or later
    while many look. `read` returns the values of both; the part must show nothing that not all viewers may see.
    """
    live, path = (
        site_of(request).live,
        ROOT.get() + quote(request.scope["path"]),
    )  # decoded once; names have `%` in them
    if request.url.query:
        path = f"{path}?{request.url.query}"

    async def values(pause: int) -> Mapping[str, object]:
        return {"live_path": path, "live_seconds": pause, **await read()}

    async def make(pause: int) -> str:
        return _environment().get_template(f"{name}_live.html").render(await values(pause))

    if is_look(request):
        return HTMLResponse(await live.part(path, seconds, make), headers=_HEADERS)
    return _answer(name, who, HTTPStatus.OK, {"said": "", **await values(live.next_pause(seconds))})


def page(
    name: str, who: Identity | None, *, status: int = HTTPStatus.OK, said: str = "", **values: object
) -> HTMLResponse:
    """Return a page."""
    return _answer(name, who, status, {"said": said, **values})


def _answer(name: str, who: Identity | None, status: int, values: Mapping[str, object]) -> HTMLResponse:
    html = _environment().get_template(f"{name}.html").render(values, who=Who.of(who) if who else None)
    return HTMLResponse(html, status, _HEADERS)
