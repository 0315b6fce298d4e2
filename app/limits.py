"""What happens to every request: an id, security headers, a limit of its body; plain ASGI."""

from __future__ import annotations

import uuid

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem, answer

# Calls that take several pictures may be so many times as long as others.
MANY_PICTURES = frozenset({"/v1/search/batch", "/v1/search/examples"})
MANY = 4
BODY_SECONDS = 30.0
SECURITY_HEADERS = {
    # blob: is the page's preview of a picture before it is sent; data: Swagger UI's own icons.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Envelope:
    """Gives each request an id and each answer that id and the security headers; HEAD is GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**SECURITY_HEADERS, "X-Request-ID": request_id})
                # Kept by browsers, but asked about each time: works, pages and scripts change.
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        # HEAD is GET for the app, which needs no routes of its own for it; the server, which
        # keeps its own scope, sends no body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return await self._app({**scope, "method": method}, receive, send_with_headers)


class BodyLimit:
    """Refuses a body over the limit, by its declared length, else as it arrives; and one that takes
    too long to arrive, which uvicorn would wait for without end.

    Starlette's own RequestBodyLimitMiddleware counts in the same way, but answers in plain text
    where a route does not read the body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        most = self._max_bytes * (MANY if scope["path"] in MANY_PICTURES else 1)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            refusal = _too_large(most, f"{declared} bytes")
            return await answer(refusal, scope)(scope, receive, send)
        arrived, whole = 0, False
        deadline = anyio.current_time() + BODY_SECONDS

        async def counted() -> Message:
            nonlocal arrived, whole
            if whole:
                return await receive()  # waits for the client to go
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError as error:
                detail = f"a body must arrive within {BODY_SECONDS:g} s; {arrived} bytes did"
                raise Problem(408, "body-too-slow", detail, {"Connection": "close"}) from error
            arrived += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if arrived > most:
                raise _too_large(most, f"{arrived} bytes so far")
            return message

        return await self._app(scope, counted, send)


def _too_large(most: int, received: str) -> Problem:
    detail = f"a request may have {most} bytes; received {received}; send less"
    return Problem(413, "body-too-large", detail)
