"""The service, in reading order: what it holds, what guards it, what it answers.

request -> limits (id, headers, admin key, size) -> routes -> gate -> serving -> answers
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from app.decoding import Decoder
from app.following import Follower
from app.gate import Gate, cores
from app.jobs import Evaluations
from app.limits import AdminGate, BodyLimit, Envelope, read_key
from app.problems import RESPONSES, add_handlers
from app.routes import admin, health, items, search
from app.routes.page import add_pages
from app.routes.parts import refuse_repeated
from app.serving import Serving
from app.settings import Settings


def create_app(settings: Settings, announce: Callable[[Serving], None]) -> ASGIApp:
    """The service as one ASGI application.

    Args:
        announce: told of each release that begins to be served.

    Raises:
        BadInput: the admin key cannot be used.
    """
    key = read_key(settings.admin_key_file) if settings.admin_key_file else None
    app = FastAPI(
        title="artkin",
        version="1",  # of the interface, as in its paths
        lifespan=_follow,
        docs_url=None,
        redoc_url=None,
        responses=RESPONSES,
        dependencies=[Depends(refuse_repeated)],
    )
    app.state.decoder = Decoder(cores())
    app.state.follower = Follower(settings.model, settings.releases, announce, app.state.decoder)
    app.state.gate = Gate(running=cores(), waiting=2 * cores())
    app.state.evaluations = Evaluations()
    add_handlers(app)
    for routes in (search, items, admin, health):
        app.include_router(routes.router)
    add_pages(app)
    return Envelope(AdminGate(BodyLimit(app, settings.max_body_bytes), key))


@asynccontextmanager
async def _follow(app: FastAPI) -> AsyncIterator[None]:
    app.state.decoder.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.state.follower.run)
        yield
        tasks.cancel_scope.cancel()
    app.state.decoder.stop()
