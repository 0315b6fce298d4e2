"""GET /healthz, /readyz and /metrics: never behind the gate, never in a thread."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from app.answers import Ready
from app.metrics import MEDIA_TYPE, exposition
from app.routes.parts import Nothing, Served

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz(_: Nothing) -> dict[str, Literal["alive"]]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(serving: Served, _: Nothing) -> Ready:
    """Searches can be answered; 503 with the reason if not."""
    return Ready(works=len(serving.release.vectors), **serving.versions())


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(_: Nothing) -> Response:
    """What Prometheus reads; with the metrics key or the admin key, where there is either."""
    return Response(exposition(), headers={"Content-Type": MEDIA_TYPE})
