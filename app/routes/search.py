"""POST /v1/search and its kin: pictures in, the works most like them out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.answers import Batch, Embedding, Neighbours
from app.options import Boxed, Examples, PictureOptions
from app.problems import document, of_rejected
from app.routes.parts import Served, Turn
from app.upload import BATCH, EXAMPLES, FIELD, ONE, read_picture, read_pictures, request_body
from index.space.errors import ImageRejected

router = APIRouter(tags=["search"])


@router.post("/v1/search", openapi_extra=request_body(ONE, raw=True))
async def search(
    request: Request, options: Annotated[PictureOptions, Query()], serving: Served, turn: Turn
) -> Neighbours:
    """Find the works most like a picture: JPEG, PNG or WebP, at most 25 megapixels."""
    picture = await read_picture(request)
    return await turn.run(serving.search, picture, options)


@router.post("/v1/search/batch", openapi_extra=request_body(BATCH))
async def search_batch(
    request: Request, options: Annotated[PictureOptions, Query()], serving: Served, turn: Turn
) -> Batch:
    """The same for up to 32 pictures; one that cannot be used has its problem for an answer."""
    pictures = await read_pictures(request, BATCH)
    found = await turn.run(serving.search_batch, pictures[FIELD], options)
    answers = [
        document(of_rejected(one), request.scope) if isinstance(one, ImageRejected) else one
        for one in found
    ]
    return Batch(answers=answers, **serving.versions())


@router.post("/v1/search/examples", openapi_extra=request_body(EXAMPLES, required=False))
async def search_examples(
    request: Request, options: Annotated[Examples, Query()], serving: Served, turn: Turn
) -> Neighbours:
    """Find the works most like some examples and unlike others: up to 8 files in each of the
    fields `positive` and `negative`, or works of the collection by `positive_id`, `negative_id`."""
    pictures = await read_pictures(request, EXAMPLES)
    return await turn.run(
        serving.search_examples, pictures["positive"], pictures["negative"], options
    )


@router.post("/v1/embed", openapi_extra=request_body(ONE, raw=True))
async def embed(
    request: Request, options: Annotated[Boxed, Query()], serving: Served, turn: Turn
) -> Embedding:
    """A picture's vector, as the index holds those of the works."""
    picture = await read_picture(request)
    return await turn.run(serving.embed, picture, options)
