"""What routes take from the app: the release served, the gate in front of work, `k`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.gate import Gate
from app.serving import Serving


class SearchOptions(BaseModel):
    """Options of a search; others are refused, so that a misspelt one is not ignored.

    Args:
        k: neighbours wanted.
    """

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=5, ge=1, le=100)


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.follower.serving()
    return serving


async def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


Served = Annotated[Serving, Depends(_serving)]
Turn = Annotated[Gate, Depends(_gate)]
Options = Annotated[SearchOptions, Query()]
