"""Admin calls but for jobs; `access.Access` has checked the key before they are reached."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response

from app.answers import Item, Ready, Releases
from app.following import Follower
from app.options import Removal, Rollback
from app.routes.jobs import AllJobs
from app.routes.parts import Bearer, Nothing, Turn, no_body
from app.upload import ONE, read_picture, request_body

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[Bearer])


async def _follower(request: Request) -> Follower:
    follower: Follower = request.app.state.follower
    return follower


Following = Annotated[Follower, Depends(_follower)]


# Parameters that nobody can name before: the columns that a collection has.
_COLUMNS = {
    "name": "columns",
    "in": "query",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "description": "`class`, `title`, `artist`, `date` and any other column, each a parameter",
    "example": {"title": "Seascape, a study", "class": "1870s", "licence": "CC0-1.0"},
}


@router.post(
    "/items",
    status_code=201,
    openapi_extra=request_body(ONE, raw=True) | {"parameters": [_COLUMNS]},
)
async def add_item(
    request: Request,
    response: Response,
    following: Following,
    turn: Turn,
    id: str,  # noqa: A002
) -> Item:
    """Add a work: its picture as a file, `id` and whatever else is said of it as parameters
    (`class`, `title`, `artist`, `date`, ... as the columns of a manifest). It is found at once,
    and kept across restarts and rebuilds."""
    said = {name: text for name, text in request.query_params.items() if text and name != "id"}
    label = said.pop("class", None)
    picture = await read_picture(request)
    item = await turn.run(following.add, id, picture, label, said)
    response.headers["Location"] = f"/v1/items/{quote(id, safe='')}"
    return item


@router.delete("/items/{id}")
async def remove_item(
    id: str,  # noqa: A002
    following: Following,
    turn: Turn,
    jobs: AllJobs,
    options: Annotated[Removal, Query()],
) -> Ready:
    """Take a work down: it is in no answer any more, nor in later releases; a job takes it out of
    the releases on the disk."""
    serving = await turn.run(following.remove, id, options.reason)
    if await to_thread.run_sync(following.is_on_disk, id):
        jobs.take_down(serving.release.id)
    return Ready(works=len(serving.release.vectors), **serving.versions())


@router.get("/releases")
async def releases(following: Following, _: Nothing) -> Releases:
    """The releases on the disk, the newest first."""
    return await to_thread.run_sync(following.releases)


@router.post("/reload", dependencies=[Depends(no_body)])
async def reload(following: Following, _: Nothing) -> Ready:
    """Load what is published now, without waiting for the service to notice by itself."""
    serving = await to_thread.run_sync(following.reload)
    return Ready(works=len(serving.release.vectors), **serving.versions())


@router.post("/rollback", dependencies=[Depends(no_body)])
async def rollback(following: Following, options: Annotated[Rollback, Query()]) -> Ready:
    """Publish the release before the one that is served, or any other, and load it."""
    serving = await to_thread.run_sync(following.rollback, options.release)
    return Ready(works=len(serving.release.vectors), **serving.versions())
