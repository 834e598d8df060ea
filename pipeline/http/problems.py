"""Errors as problem details (RFC 9457): every answer with a status of 400 and above is one."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
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


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, members: Mapping[str, object] | None = None
) -> Response:
    """Return the answer for a problem. Its type is `about:blank`: the status says the kind."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(orjson.dumps({**document, **(members or {})}), status, dict(headers or {}), MEDIA_TYPE)


def answer(error: Exception) -> Response:
    """Return the answer for an error that a route has raised."""
    match error:
        case ProblemError():
            return problem(error.status_code, error.detail, headers=error.headers, members=error.members)
        case RequestValidationError():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, _what_is_wrong(error))
        case HTTPException():
            return problem(error.status_code, str(error.detail), headers=error.headers)
        case PipelineError():
            status = next((one for kind, one in _STATUSES.items() if isinstance(error, kind)), None)
            if status is not None:
                retry = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
                return problem(status, str(error), headers=retry)
    where = traceback.extract_tb(error.__traceback__)[-1]
    log.warning("request_failed", reason=f"{type(error).__name__}: {error}", where=f"{where.filename}:{where.lineno}")
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server made a mistake. Its log says more.")


def add_handlers(app: FastAPI) -> None:
    """Let an application answer every error with a problem."""

    async def handle(_request: Request, error: Exception) -> Response:
        return answer(error)

    for kind in (ProblemError, RequestValidationError, HTTPException, PipelineError, Exception):
        app.add_exception_handler(kind, handle)


def _what_is_wrong(error: RequestValidationError) -> str:
    """Return all that is wrong with a request, without its values: one of them could be a secret."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
