"""What happens to a request before its body is read: id, headers, admin key, size.

Plain ASGI, outside of FastAPI: a check inside a route runs only after the whole body has been
taken in (measured: 300 MB read before a 401).
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem, answer
from index.space.errors import BadInput

ADMIN = "/v1/admin"
MIN_KEY_BYTES = 16
# Calls that take several pictures may be so many times as long as others.
MANY_PICTURES = frozenset({"/v1/search/batch", "/v1/search/examples"})
MANY = 4
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


class AdminGate:
    """Lets calls of /v1/admin through only with the bearer key.

    Args:
        key: SHA-256 of the key, from `read_key`; None turns admin calls off.
    """

    def __init__(self, app: ASGIApp, key: bytes | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            return await answer(refusal, scope)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        path = scope["path"]
        if path != ADMIN and not path.startswith(f"{ADMIN}/"):
            return None
        if self._key is None:
            return Problem(
                403,
                "admin-off",
                "admin calls are off: no key is set; start the service with `--admin-key-file "
                f"FILE`, a file that holds a key of at least {MIN_KEY_BYTES} bytes",
            )
        # Bytes, not text: hmac refuses to compare text that is not ASCII.
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        if scheme.lower() == b"bearer" and hmac.compare_digest(digest, self._key):
            return None
        detail = "admin calls need the header `Authorization: Bearer KEY` with the service's key"
        return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})


class BodyLimit:
    """Refuses a body over the limit: by its declared length, else as it arrives.

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
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most:
                raise _too_large(most, f"{arrived} bytes so far")
            return message

        return await self._app(scope, counted, send)


def _too_large(most: int, received: str) -> Problem:
    detail = f"a request may have {most} bytes; received {received}; send less"
    return Problem(413, "body-too-large", detail)


def read_key(path: Path) -> bytes:
    """SHA-256 of the admin key that a file holds.

    Raises:
        BadInput: there is no such file, the key is shorter than 16 bytes, or has several lines.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise BadInput(
            f"admin_key_file (--admin-key-file or ARTKIN_ADMIN_KEY_FILE) must be a file that can "
            f"be read; received {path}: {error.strerror}"
        ) from error
    if len(key) < MIN_KEY_BYTES or b"\n" in key:
        raise BadInput(
            f"an admin key must be one line of at least {MIN_KEY_BYTES} bytes; {path} has "
            f"{len(key)} bytes; make one with `openssl rand -hex 32`"
        )
    return hashlib.sha256(key).digest()
