"""The web page and the API's documentation, without a CDN or inline scripts.

FastAPI's own /docs loads Swagger UI from a CDN and starts it inline, both against the service's
Content-Security-Policy; fastapi-offline brings the same files, `docs.html` starts them.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).parent.parent / "page"
# It knows what a browser has already, which Starlette's FileResponse alone does not.
_FILES = StaticFiles(directory=PAGE, packages=[("fastapi_offline", "static"), ("index", "styles")])


async def page(request: Request) -> Response:
    """The page for people."""
    return await _FILES.get_response("index.html", request.scope)


async def docs(request: Request) -> Response:
    """The page for programmers: Swagger UI over /openapi.json."""
    return await _FILES.get_response("docs.html", request.scope)


def add_pages(app: FastAPI) -> None:
    """Serve both pages and the files they need."""
    app.add_route("/", page, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.mount("/static", _FILES)
