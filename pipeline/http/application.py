"""Puts the application together: routes, errors as problems, and the guard in front."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline import __version__
from pipeline.http.api import actions, checks, events, flows, health, movements, tokens
from pipeline.http.api.reports import log, mappings, notifications
from pipeline.http.apps import downloads, exporting, importing, sending
from pipeline.http.document import add_document
from pipeline.http.guard import Guard
from pipeline.http.pages import acting, checking, details, notifying, rendering, routes, session
from pipeline.http.pages.rendering import is_look
from pipeline.http.problems import Problem, add_handlers, answer
from pipeline.http.site import Site

API = "/api/v1"
PLATFORM = ("/app/migration/", "/rest/", "/wiki/", "/.well-known/")
"""What the public platform's paths begin with."""


def create_application(site: Site) -> ASGIApp:
    """Return the application of a site."""
    app = FastAPI(
        title="pipeline",
        version=__version__,
        description="Moves an app's data: Flows, Movements, Event Files, and what apps in any language call.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    add_handlers(app, _render)
    app.add_exception_handler(session.LogInError, _ask_to_log_in)
    for pages in (routes, session, acting, checking, details, notifying):  # first those that are asked for all the time
        app.include_router(pages.router)
    app.include_router(health.router)
    operators = (flows, movements, events, actions, checks, tokens, log, mappings, notifications)
    for rooms in (*operators, exporting, sending, importing, downloads):
        app.include_router(rooms.router, prefix=API)
    if site.oidc is not None:
        from pipeline.http.pages import oidc  # it needs the extra `oidc`

        app.include_router(oidc.router)
    if site.platform is not None:
        from pipeline.http.platform import connect, data, uploading  # a profile that few need

        for router in (data.forge, uploading.router, uploading.signed):
            app.include_router(router)
        if site.platform.app_id:
            from pipeline.http.platform import signing  # it needs the extra `oidc`

            app.include_router(signing.router)
        for product in ("", "/wiki"):
            app.include_router(connect.router, prefix=product)
    add_document(app, site.root)
    app.mount("/static", StaticFiles(directory=rendering.STATIC))
    return Guard(app, site)


def _render(request: Request, problem: Problem) -> Response:
    """Return a problem as a document of the API, or as a page. A page that follows what happens shows no problem of a look."""
    path = request.url.path
    if is_look(request) or path.startswith((f"{API}/", *PLATFORM)) or path in ("/healthz", "/readyz", "/metrics"):
        return answer(problem)
    page = rendering.page("problem", None, status=problem.status, title=problem.title, detail=problem.detail)
    page.headers.update(problem.headers)
    return page


async def _ask_to_log_in(request: Request, _error: Exception) -> Response:
    """Lead a browser to the page where people log in, also one whose page follows what happens."""
    if is_look(request):
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-refresh": "true"})
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
