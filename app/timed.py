"""Each request, timed once: for Prometheus, and as a line of the log where requests are logged."""

from __future__ import annotations

from http import HTTPMethod
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import log, metrics

_METHODS = frozenset(HTTPMethod)  # anybody may make up others, and each would be a series
_QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds


class Timed:
    """Times each request; inside `limits.Envelope`, outside of whatever refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self._app(scope, receive, send_and_note)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route, seconds = pattern_of(scope), perf_counter() - start
            metrics.requests.labels(method, route, status).observe(seconds)
            if scope["path"] not in _QUIET:
                about = {"method": method, "route": route, "status": status}
                timed = {"request_id": scope["state"]["request_id"], "ms": round(1000 * seconds, 1)}
                log.requests.info("request", extra=about | timed)


def pattern_of(scope: Scope) -> str:
    """The route's pattern, `/v1/items/{id}`; "-" where none was reached."""
    route = scope.get("route")
    return getattr(route, "path", "-")
