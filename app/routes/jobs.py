"""Evaluations, rebuilds and takedowns: asked for, followed, stopped.

Admin calls; `access.Access` has checked the key before they are reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.answers import Job, JobKind, JobList
from app.jobs import Jobs
from app.options import Page
from app.routes.parts import Bearer, Nothing, Served, no_body

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[Bearer])
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


AllJobs = Annotated[Jobs, Depends(_jobs)]


@router.get("/jobs")
async def all_jobs(jobs: AllJobs, options: Annotated[Page, Query()]) -> JobList:
    """Evaluations, rebuilds and takedowns, the newest first."""
    total, found = jobs.page(options.limit, options.offset)
    return JobList(total=total, jobs=found)


def _add_routes(kind: JobKind, what: str) -> None:
    """The calls about one kind of job.

    Args:
        what: asking for one does.
    """

    @router.post(
        f"/{kind}s",
        status_code=202,
        dependencies=[Depends(no_body)],
        summary=f"Start {kind}",
        description=what,
    )
    async def start(jobs: AllJobs, response: Response, serving: Served, _: Nothing) -> Job:
        job = jobs.start(kind, serving.release.id)
        response.headers["Location"] = f"/v1/admin/{kind}s/{job.id}"
        return job

    @router.get(f"/{kind}s/{{id}}", summary=kind.capitalize())
    async def job(id: str, jobs: AllJobs, _: Nothing) -> Job:  # noqa: A002
        """How it is going, and its result."""
        return jobs.get(kind, id)

    @router.delete(f"/{kind}s/{{id}}", summary=f"Cancel {kind}")
    async def cancel(id: str, jobs: AllJobs, _: Nothing) -> Job:  # noqa: A002
        """Stop it; one that is over stays as it is."""
        return jobs.cancel(kind, id)

    @router.get(
        f"/{kind}s/{{id}}/events",
        response_class=StreamingResponse,
        responses=_STREAM,
        summary=f"Events of {kind}",
    )
    async def events(id: str, jobs: AllJobs, _: Nothing) -> Response:  # noqa: A002
        """It as server-sent events: now, after each change, and when it is over the last."""
        jobs.get(kind, id)  # 404 is an answer, not an event
        return StreamingResponse(_events(jobs, kind, id), media_type="text/event-stream")


async def _events(jobs: Jobs, kind: JobKind, id_: str) -> AsyncIterator[str]:
    async for found in jobs.follow(kind, id_):
        yield f"event: {found.status}\ndata: {found.model_dump_json()}\n\n"


_add_routes(
    "evaluation", "Measure the release that is served, as `artkin evaluate --model DIR` does."
)
_add_routes(
    "rebuild",
    "Index what changed in the collection and publish it, as `artkin rebuild` does.",
)
_add_routes(
    "takedown",
    "Take what was removed out of every release on the disk, as `artkin remove` does; removing a "
    "work asks for it by itself.",
)
