"""Errors as answers: the one place where they become HTTP statuses (RFC 9457).

BadInput            422 invalid-parameter
ImageRejected       415 unsupported-image, else 422 with the slug it carries
Problem             whatever it says: the service's own refusals
RequestValidation   422 invalid-parameter
HTTPException       404 not-found, 405 method-not-allowed, ... from routing
OSError             507 disk-full, if the disk is
anything else       500 internal-error; the trace goes to the log, never into the answer
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from app.answers import ProblemDocument
from app.metrics import refusals
from index.space.errors import BadInput, ImageRejected

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class Problem(Exception):
    """A request that the service refuses.

    Args:
        status: HTTP status.
        slug: the kind of problem as a stable word; its type is `/problems/<slug>`.
        detail: the rule, the value received and the fix, in one line.
        headers: more headers of the answer, e.g. Retry-After.
    """

    def __init__(
        self, status: int, slug: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})


def unavailable(slug: str, detail: str) -> Problem:
    """A 503 that says when to come again."""
    return Problem(503, slug, detail, {"Retry-After": "1"})


def of_rejected(error: ImageRejected) -> Problem:
    """A picture that cannot be used, as a problem."""
    status = 415 if error.slug == "unsupported-image" else 422
    return Problem(status, error.slug, str(error))


def document(problem: Problem, scope: Scope) -> ProblemDocument:
    """The problem as what the request of `scope` is told, and counted."""
    refusals.labels(problem.slug).inc()
    return ProblemDocument(
        type=f"/problems/{problem.slug}",
        title=problem.slug.replace("-", " ").capitalize(),
        status=problem.status,
        detail=problem.detail,
        request_id=scope["state"]["request_id"],
    )


def answer(problem: Problem, scope: Scope) -> Response:
    """The problem as an answer to the request of `scope`."""
    told = document(problem, scope).model_dump()
    return JSONResponse(told, problem.status, problem.headers, MEDIA_TYPE)


_PROBLEM = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
# What OpenAPI says of every call; `default` is for those that routing or the server itself give.
_REFUSALS: dict[int | str, str] = {
    400: "A form that cannot be read",
    401: "A key is needed",
    404: "Not there",
    413: "Too long",
    422: "What was given cannot be used",
    429: "Too many calls of one key or address",
    503: "Not ready, or too much at once; see Retry-After",
    507: "The disk is full",
    "default": "A problem",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": f"{said} (RFC 9457)", "content": _PROBLEM}
    for status, said in _REFUSALS.items()
}


def add_handlers(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return answer(error, request.scope)

    @app.exception_handler(ImageRejected)
    async def on_rejected(request: Request, error: ImageRejected) -> Response:
        return answer(of_rejected(error), request.scope)

    @app.exception_handler(BadInput)
    async def on_bad_input(request: Request, error: BadInput) -> Response:
        return answer(Problem(422, "invalid-parameter", str(error)), request.scope)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        said = first["msg"].removeprefix("Value error, ")
        received = "" if "; received" in said else f"; received {str(first['input'])[:100]!r}"
        detail = f"{name}: {said}{received}"
        return answer(Problem(422, "invalid-parameter", detail), request.scope)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        slug = phrase.lower().replace(" ", "-")
        # Not request.url, which cannot be parsed with every Host header.
        detail = f"{request.method} {request.scope['path'][:200]}: {error.detail}; see /docs"
        return answer(Problem(error.status_code, slug, detail, error.headers), request.scope)

    @app.exception_handler(ClientDisconnect)
    async def on_gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    @app.exception_handler(OSError)
    async def on_disk(request: Request, error: OSError) -> Response:
        if error.errno != errno.ENOSPC:
            raise error
        _log.error("the disk is full (%s)", error.filename)
        detail = "the disk of the service's state is full; make room and ask again"
        return answer(Problem(507, "disk-full", detail), request.scope)

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> Response:
        # Starlette raises the error again after this answer, and uvicorn logs its trace.
        _log.error("request %s failed: %r", request.scope["state"]["request_id"], error)
        detail = "a fault of the service's own; its log has more under this request_id"
        return answer(Problem(500, "internal-error", detail), request.scope)
