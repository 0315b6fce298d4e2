"""The service, in reading order: what it holds, what guards it, what it answers.

request -> limits (id, headers) -> proxied (path) -> trace, time -> access (keys, rate)
        -> limits (size) -> routes -> gate -> serving -> searching -> answers
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from app.access import Access
from app.decoding import Decoder
from app.examples import add_examples
from app.following import Follower
from app.gate import Gate
from app.jobs import Jobs
from app.keys import keys_of
from app.limits import BodyLimit, Envelope
from app.problems import RESPONSES, add_handlers
from app.proxied import Below, Rooted
from app.routes import admin, health, items, jobs, search
from app.routes.page import add_pages
from app.routes.parts import Bearer, refuse_repeated
from app.serving import Serving
from app.settings import Settings
from app.timed import Timed
from app.tracing import Traced
from index.changes import CHANGES
from index.space.cores import cores


def create_app(
    settings: Settings, announce: Callable[[Serving], None], stopping: Callable[[], bool]
) -> ASGIApp:
    """The service as one ASGI application.

    Args:
        announce: told of each release that begins to be served.
        stopping: whether the service has been told to stop.

    Raises:
        BadInput: keys cannot be used, settings contradict each other, or the state's folder cannot
            be written.
    """
    admin_keys, search_keys, metrics_keys = keys_of(settings)
    app = FastAPI(
        title="artkin",
        version="1",  # of the interface, as in its paths
        lifespan=_follow,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go where the Host header says
        # FastAPI's own spans have addresses and what was asked for; `tracing.py` has neither.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses=RESPONSES,
        dependencies=[Depends(refuse_repeated)],
    )
    app.state.decoder = Decoder(cores(), stopping)
    app.state.follower = Follower(
        settings.model, settings.releases, announce, app.state.decoder, settings.state / CHANGES
    )
    app.state.gate = Gate(running=cores(), waiting=2 * cores())
    # Without a key nobody can change anything or ask for a job, and then nothing is written.
    app.state.jobs = admin_keys and Jobs(
        settings.state, app.state.follower.model, settings.releases, settings.collection, stopping
    )
    add_handlers(app)
    closed = [Bearer] if search_keys else []
    for routes in (search, items):
        app.include_router(routes.router, dependencies=closed)
    for routes in (admin, jobs, health):
        app.include_router(routes.router)
    add_pages(app)
    add_examples(app)
    root = settings.root_path
    limited = BodyLimit(Rooted(app, root) if root else app, settings.max_body_bytes)
    audit = settings.state / "audit.jsonl" if admin_keys else None
    allowed = Access(limited, admin_keys, search_keys, metrics_keys, settings.per_minute, audit)
    guarded = Traced(Timed(allowed))
    return Envelope(Below(guarded, root) if root else guarded)


@asynccontextmanager
async def _follow(app: FastAPI) -> AsyncIterator[None]:
    app.state.decoder.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.state.follower.run)
        if app.state.jobs:
            tasks.start_soon(app.state.jobs.run)
        yield
        tasks.cancel_scope.cancel()
    app.state.decoder.stop()
