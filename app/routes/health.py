"""GET /healthz and /readyz: never behind the gate, never in a thread."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from app.answers import Ready
from app.routes.parts import Served

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, Literal["alive"]]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(serving: Served) -> Ready:
    """Searches can be answered; 503 with the reason if not."""
    return Ready(works=serving.release.manifest.works, **serving.versions())
