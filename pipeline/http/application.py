"""Puts the application together: routes, errors as problems, and the guard in front."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from pipeline import __version__
from pipeline.http.api import flows, health, movements, tokens
from pipeline.http.apps import downloads, exporting, importing
from pipeline.http.guard import Guard
from pipeline.http.problems import add_handlers
from pipeline.http.site import Site

API = "/api/v1"


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
    add_handlers(app)
    app.include_router(health.router)
    for routes in (flows, movements, tokens, exporting, importing, downloads):
        app.include_router(routes.router, prefix=API)
    return Guard(app, site)
