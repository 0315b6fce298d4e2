"""GET /v1/items/{id}: a work, its neighbours, its picture."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response

from app.answers import Item, Neighbours
from app.routes.parts import Nothing, Options, Served, Turn
from index.thumbnails import MEDIA_TYPE

router = APIRouter(tags=["items"])


@router.get("/v1/items/{id}")
def item(id: str, serving: Served, _: Nothing) -> Item:  # noqa: A002
    """One work of the collection."""
    return serving.item(id)


@router.get("/v1/items/{id}/similar")
async def similar(id: str, options: Options, serving: Served, turn: Turn) -> Neighbours:  # noqa: A002
    """The works most like a work of the collection, without itself."""
    return await turn.run(serving.similar, id, options.k)


@router.get(
    "/v1/items/{id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}, 304: {"description": "Not changed"}},
)
def thumbnail(id: str, request: Request, serving: Served, _: Nothing) -> Response:  # noqa: A002
    """A work's picture, at most 320 pixels a side."""
    picture = serving.thumbnail(id)
    etag = f'"{hashlib.sha256(picture).hexdigest()[:32]}"'
    headers = {"ETag": etag}
    known = request.headers.get("if-none-match", "")
    if etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(picture, media_type=MEDIA_TYPE, headers=headers)
