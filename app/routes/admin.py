"""Admin calls; `access.Access` has checked the key before they are reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer

from app.answers import Item, Job, JobKind, JobList, Ready, Releases
from app.following import Follower
from app.jobs import Jobs
from app.options import Page, Rollback
from app.routes.parts import Nothing, Served, Turn, no_body
from app.upload import ONE, read_picture, request_body

# For OpenAPI only: it shows the lock and lets /docs send a key.
_bearer = Depends(HTTPBearer(auto_error=False))
router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[_bearer])
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


async def _follower(request: Request) -> Follower:
    follower: Follower = request.app.state.follower
    return follower


AllJobs = Annotated[Jobs, Depends(_jobs)]
Following = Annotated[Follower, Depends(_follower)]


def _started(kind: JobKind, jobs: Jobs, serving: Served, response: Response) -> Job:
    job = jobs.start(kind, serving.release.id)
    response.headers["Location"] = f"/v1/admin/{kind}s/{job.id}"
    return job


@router.post("/items", status_code=201, openapi_extra=request_body(ONE, raw=True))
async def add_item(
    request: Request,
    response: Response,
    following: Following,
    turn: Turn,
    id: str,  # noqa: A002
) -> Item:
    """Add a work: its picture as a file, `id` and whatever else is said of it as parameters
    (`class`, `title`, `artist`, `date`, ... as the columns of a manifest). It is found at once,
    and kept across restarts and rebuilds."""
    said = {name: text for name, text in request.query_params.items() if text and name != "id"}
    label = said.pop("class", None)
    picture = await read_picture(request)
    item = await turn.run(following.add, id, picture, label, said)
    response.headers["Location"] = f"/v1/items/{quote(id, safe='')}"
    return item


@router.delete("/items/{id}")
async def delete_item(id: str, following: Following, turn: Turn, _: Nothing) -> Ready:  # noqa: A002
    """Take a work down: it is in no answer any more, nor in later releases."""
    serving = await turn.run(following.delete, id)
    return Ready(works=len(serving.release.vectors), **serving.versions())


@router.post("/evaluations", status_code=202, dependencies=[Depends(no_body)])
async def start_evaluation(jobs: AllJobs, response: Response, serving: Served, _: Nothing) -> Job:
    """Measure the release that is served, as `artkin evaluate --model DIR` does."""
    return _started("evaluation", jobs, serving, response)


@router.post("/rebuilds", status_code=202, dependencies=[Depends(no_body)])
async def start_rebuild(jobs: AllJobs, response: Response, serving: Served, _: Nothing) -> Job:
    """Index the collection anew and publish it, as `artkin index` and `artkin publish` do."""
    return _started("rebuild", jobs, serving, response)


@router.get("/jobs")
async def all_jobs(jobs: AllJobs, options: Annotated[Page, Query()]) -> JobList:
    """Evaluations and rebuilds, the newest first."""
    total, found = jobs.page(options.limit, options.offset)
    return JobList(total=total, jobs=found)


@router.get("/{kind}s/{id}")
async def job(kind: JobKind, id: str, jobs: AllJobs, _: Nothing) -> Job:  # noqa: A002
    """How a job is going, and its result."""
    return jobs.get(kind, id)


@router.delete("/{kind}s/{id}")
async def cancel_job(kind: JobKind, id: str, jobs: AllJobs, _: Nothing) -> Job:  # noqa: A002
    """Stop a job; one that is over stays as it is."""
    return jobs.cancel(kind, id)


@router.get("/{kind}s/{id}/events", response_class=StreamingResponse, responses=_STREAM)
async def job_events(
    kind: JobKind,
    id: str,  # noqa: A002
    jobs: AllJobs,
    _: Nothing,
) -> Response:
    """The job as server-sent events: now, after each change, and when it is over the last."""
    jobs.get(kind, id)  # 404 is an answer, not an event

    async def events() -> AsyncIterator[str]:
        async for found in jobs.follow(kind, id):
            yield f"event: {found.status}\ndata: {found.model_dump_json()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/releases")
async def releases(following: Following, _: Nothing) -> Releases:
    """The releases on the disk, the newest first."""
    return await to_thread.run_sync(following.releases)


@router.post("/reload", dependencies=[Depends(no_body)])
async def reload(following: Following, _: Nothing) -> Ready:
    """Load what is published now, without waiting for the service to notice by itself."""
    serving = await to_thread.run_sync(following.reload)
    return Ready(works=len(serving.release.vectors), **serving.versions())


@router.post("/rollback", dependencies=[Depends(no_body)])
async def rollback(following: Following, options: Annotated[Rollback, Query()]) -> Ready:
    """Publish the release before the one that is served, or any other, and load it."""
    serving = await to_thread.run_sync(following.rollback, options.release)
    return Ready(works=len(serving.release.vectors), **serving.versions())
