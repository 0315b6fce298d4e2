"""Evaluations asked for over HTTP: one at a time, in a thread of its own, kept in memory.

A daemon thread, so that a stop of the service does not wait for minutes; what it does is NumPy,
FAISS, Pillow and OpenVINO, which free Python's lock, so health checks are answered meanwhile.
"""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import UTC, datetime

from app.answers import Job
from app.problems import Problem
from app.serving import Serving
from index.evaluation import evaluate_release
from index.space.errors import ArtkinError

KEPT = 100  # finished jobs that can still be asked for
_log = logging.getLogger(__name__)


class Evaluations:
    """Starts evaluations and remembers how they went. Called from the event loop only."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._last: Job | None = None

    def start(self, serving: Serving) -> Job:
        """Queue an evaluation of what is served now.

        Raises:
            Problem: 409 `evaluation-running`.
        """
        last = self._last and self._jobs[self._last.id]
        if last is not None and last.finished is None:
            where = f"/v1/admin/evaluations/{last.id}"
            detail = f"one evaluation at a time; {last.id} is {last.status}: wait for {where}"
            raise Problem(409, "evaluation-running", detail, {"Location": where})
        job = Job(
            id=uuid.uuid4().hex, status="queued", index_version=serving.release.id, created=_now()
        )
        self._remember(job)
        threading.Thread(
            target=self._run, args=(job, serving), name="evaluation", daemon=True
        ).start()
        return job

    def get(self, id_: str) -> Job:
        """A job by its id.

        Raises:
            Problem: 404 `no-such-job`.
        """
        job = self._jobs.get(id_)
        if job is None:
            detail = f"no evaluation has the id {id_[:64]!r}; a restart forgets them"
            raise Problem(404, "no-such-job", detail)
        return job

    def _remember(self, job: Job) -> None:
        self._last = self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            del self._jobs[next(iter(self._jobs))]

    def _run(self, job: Job, serving: Serving) -> None:
        # Whole jobs are put in place of each other, so a reader never sees half a change.
        self._jobs[job.id] = job.model_copy(update={"status": "running"})
        try:
            outcome = {
                "status": "done",
                "result": evaluate_release(serving.release, encoder=serving.encoder),
            }
        except ArtkinError as error:
            outcome = {"status": "failed", "error": str(error)}
        except Exception as error:
            _log.exception("evaluation %s", job.id)
            outcome = {"status": "failed", "error": f"a fault of artkin's own: {error!r}"}
        self._jobs[job.id] = job.model_copy(update={**outcome, "finished": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
