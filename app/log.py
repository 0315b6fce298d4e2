"""The service's log: a line of text, or a JSON object a line, on standard error.

No line has an address, a file name, what was searched for or a picture: request ids and routes.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Literal

from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import pattern_of

_requests = logging.getLogger("app.requests")
_QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds


def start_log(kind: Literal["text", "json"]) -> None:
    """Log to standard error; once a process."""
    handler = logging.StreamHandler()
    fields = ["asctime", "levelname", "name", "message"]
    handler.setFormatter(
        JsonFormatter(
            fields,
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )
        if kind == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("app").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # or each bad form is a line
    # For people, a line a request is noise; for a collector of logs it is what it is for.
    _requests.setLevel(logging.INFO if kind == "json" else logging.WARNING)


class Logged:
    """Logs each request, where they are logged; inside `limits.Envelope`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in _QUIET:
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
            about = {
                "request_id": scope["state"]["request_id"],
                "method": scope["method"],
                "route": pattern_of(scope),
                "status": status,
                "ms": round(1000 * (perf_counter() - start), 1),
            }
            _requests.info("request", extra=about)
