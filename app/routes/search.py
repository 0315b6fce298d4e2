"""POST /v1/search: a picture in, the works most like it out."""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.answers import Neighbours
from app.routes.parts import Options, Served, Turn
from app.upload import REQUEST_BODY, read_picture

router = APIRouter(tags=["search"])


@router.post("/v1/search", openapi_extra=REQUEST_BODY)
async def search(request: Request, options: Options, serving: Served, turn: Turn) -> Neighbours:
    """Find the works most like a picture: JPEG, PNG or WebP, at most 25 megapixels."""
    picture = await read_picture(request)
    return await turn.run(serving.search, picture, options.k)
