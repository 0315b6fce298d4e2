"""Admin calls; `limits.AdminGate` has checked the key before they are reached."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer

from app.answers import Job
from app.jobs import Evaluations
from app.routes.parts import Nothing, Served, no_body

# For OpenAPI only: it shows the lock and lets /docs send a key.
_bearer = Depends(HTTPBearer(auto_error=False))
router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[_bearer])


@router.post("/evaluations", status_code=202, dependencies=[Depends(no_body)])
async def start_evaluation(
    request: Request, response: Response, serving: Served, _: Nothing
) -> Job:
    """Measure the release that is served, as `artkin evaluate --model DIR` does."""
    evaluations: Evaluations = request.app.state.evaluations
    job = evaluations.start(serving)
    response.headers["Location"] = f"/v1/admin/evaluations/{job.id}"
    return job


@router.get("/evaluations/{id}")
async def evaluation(id: str, request: Request, _: Nothing) -> Job:  # noqa: A002
    """How an evaluation is going, and its result."""
    evaluations: Evaluations = request.app.state.evaluations
    return evaluations.get(id)
