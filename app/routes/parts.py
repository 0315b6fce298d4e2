"""What routes take from the app: the release served, the gate in front of work."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer

from app.gate import Gate
from app.options import REPEATABLE, NoOptions
from app.problems import Problem
from app.serving import Serving


async def refuse_repeated(request: Request) -> None:
    """FastAPI takes the last of two values without a word.

    Raises:
        Problem: 422 `invalid-parameter`.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        if times > 1 and name not in REPEATABLE:
            detail = f"{name[:100]}: must be given once; received {times} values"
            raise Problem(422, "invalid-parameter", detail)


async def no_body(request: Request) -> None:
    """Of calls that take none: what a body asks for would not be done.

    Raises:
        Problem: 422 `unexpected-body`.
    """
    if body := await request.body():
        detail = f"this call takes no body; received {len(body)} bytes; send none"
        raise Problem(422, "unexpected-body", detail)


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.follower.serving()
    return serving


async def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


# For OpenAPI only: it shows the lock and lets /docs send a key.
Bearer = Depends(HTTPBearer(auto_error=False))
Served = Annotated[Serving, Depends(_serving)]
Turn = Annotated[Gate, Depends(_gate)]
Nothing = Annotated[NoOptions, Query()]
