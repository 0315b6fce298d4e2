"""GET /v1/items, /v1/facets, /v1/collection: the works, each one, its neighbours, its picture."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.answers import Collection, Facets, Item, Items, Map, Neighbours
from app.options import FacetOptions, MapOptions, SearchOptions, Words
from app.routes.parts import Nothing, Served, Turn
from index.thumbnails import MEDIA_TYPE, media_type

router = APIRouter(tags=["items"])


@router.get("/v1/collection")
def collection(serving: Served, _: Nothing) -> Collection:
    """What is served, and how far its answers can be trusted."""
    return serving.collection()


@router.get("/v1/items")
async def items(options: Annotated[Words, Query()], serving: Served, turn: Turn) -> Items:
    """Works by words and filter, a page of them; without words in the collection's order."""
    return await turn.run(serving.items, options)


@router.get("/v1/facets")
async def facets(options: Annotated[FacetOptions, Query()], serving: Served, turn: Turn) -> Facets:
    """What works can be told apart by, and how many have each value."""
    return await turn.run(serving.facets, options)


@router.get("/v1/map")
async def places(options: Annotated[MapOptions, Query()], serving: Served, turn: Turn) -> Map:
    """Where works stand on a map of their styles."""
    return await turn.run(serving.map, options)


@router.get("/v1/items/{id}")
def item(id: str, serving: Served, _: Nothing) -> Item:  # noqa: A002
    """One work of the collection."""
    return serving.item(id)


@router.get("/v1/items/{id}/similar")
async def similar(
    id: str,  # noqa: A002
    options: Annotated[SearchOptions, Query()],
    serving: Served,
    turn: Turn,
) -> Neighbours:
    """The works most like a work of the collection, without itself."""
    return await turn.run(serving.similar, id, options)


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
    # "*" is any (RFC 9110, 13.1.2).
    if not {"*", etag}.isdisjoint(tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(picture, media_type=media_type(picture), headers=headers)
