"""The service below a path of somebody else's address: `/art/`, say, behind a proxy.

Whether the proxy takes the path away or passes it on, everything between `Below` and `Rooted` sees
paths as they are in the documentation, keys and limits included.
"""

from __future__ import annotations

from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_root: ContextVar[str] = ContextVar("root_path", default="")


def link(path: str) -> str:
    """A path of the service as whoever asks has to write it."""
    return f"{_root.get()}{path}"


class Below:
    """Takes the path away where it was passed on; inside `limits.Envelope`, outside of the rest.

    Args:
        root: `/art`, without a slash at the end.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root_path = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        root = self._root_path
        if scope["path"] == root:  # the page's own links are relative to `/art/`
            return await RedirectResponse(f"{root}/", 308)(scope, receive, send)
        if scope["path"].startswith(f"{root}/"):
            scope = {**scope, "path": scope["path"].removeprefix(root)}
        _root.set(root)  # of this request's own context

        async def send_with_location(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("location", "").startswith("/"):
                    headers["location"] = link(headers["location"])
            await send(message)

        return await self._app(scope, receive, send_with_location)


class Rooted:
    """Gives the path back to the app, which tells it in its OpenAPI document."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root_path = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        root = self._root_path
        inner = {**scope, "root_path": root, "path": f"{root}{scope['path']}"}
        try:
            return await self._app(inner, receive, send)
        finally:
            if "route" in inner:  # for the log and the metrics, which are outside
                scope["route"] = inner["route"]
