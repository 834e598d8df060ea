"""Errors as problem details (RFC 9457): every answer with a status of 400 and above is one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    DamagedError,
    PipelineError,
    RefusedError,
    TransientError,
)
from pipeline.log_events import log

MEDIA_TYPE = "application/problem+json"

_STATUSES: Mapping[type[PipelineError], HTTPStatus] = {
    AbsentError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    ConfigurationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusedError: HTTPStatus.BAD_GATEWAY,
    DamagedError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
RETRY_SECONDS = 5
"""What `Retry-After` says when the store does not answer."""


class ProblemError(HTTPException):
    """A request that is refused: the status, one sentence, and more members of the problem."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(status, detail, headers)
        self.members = members


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error is over HTTP."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, object] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The words of the status."""
        return HTTPStatus(self.status).phrase


def describe(error: Exception) -> Problem:
    """Return what an error that a route has raised is over HTTP."""
    match error:
        case ProblemError():
            return Problem(error.status_code, error.detail, error.headers or {}, error.members)
        case RequestValidationError():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _what_is_wrong(error))
        case HTTPException():
            return Problem(error.status_code, _what_there_is(error), error.headers or {})
        case ClientDisconnect():
            return Problem(HTTPStatus.BAD_REQUEST, "The body did not come to its end.")
        case PipelineError():
            status = next((one for kind, one in _STATUSES.items() if isinstance(error, kind)), None)
            if status is not None:
                retry = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
                return Problem(status, str(error), retry)
    where = traceback.extract_tb(error.__traceback__)[-1]
    log.warning("request_failed", reason=f"{type(error).__name__}: {error}", where=f"{where.filename}:{where.lineno}")
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server made a mistake. Its log says more.")


def _what_there_is(error: HTTPException) -> str:
    """Return what to do where no route takes a request: the framework says the words of the status alone."""
    match error.status_code:
        case HTTPStatus.BAD_REQUEST:  # the framework has this for a body alone
            return "The body cannot be read as JSON in UTF-8."
        case HTTPStatus.NOT_FOUND:
            return "There is nothing at this path. /api/v1/openapi.json lists all paths."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"This path takes {(error.headers or {}).get('Allow', 'another method')}. /api/v1/openapi.json lists all paths."
    return str(error.detail)


def answer(found: Problem) -> Response:
    """Return a problem as a document. Its type is `about:blank`: the status says the kind."""
    document = {"type": "about:blank", "title": found.title, "status": found.status, "detail": found.detail}
    return Response(orjson.dumps({**document, **found.members}), found.status, dict(found.headers), MEDIA_TYPE)


def add_handlers(app: FastAPI, render: Callable[[Request, Problem], Response]) -> None:
    """Let an application answer every error: `render` makes the answer."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError) and not _says_json(request) and _lacks_body(error):
            error = ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be JSON. Send it with `Content-Type: application/json`."
            )
        return render(request, describe(error))

    for kind in (ProblemError, RequestValidationError, HTTPException, ClientDisconnect, PipelineError, Exception):
        app.add_exception_handler(kind, handle)


def _says_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def _lacks_body(error: RequestValidationError) -> bool:
    return any(one["loc"] == ("body",) for one in error.errors())


def _what_is_wrong(error: RequestValidationError) -> str:
    """Return all that is wrong with a request, without its values: one of them could be a secret."""
    return "; ".join(map(_part, error.errors()))


def _part(one: Mapping[str, Any]) -> str:
    if one["type"] == "json_invalid":
        return f"The body is no JSON: {one['ctx']['error']} at character {one['loc'][-1]}"
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
