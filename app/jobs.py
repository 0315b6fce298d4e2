"""Long work asked for over HTTP: `artkin` commands as processes, one of a kind at once.

What was asked, how far it is and what came of it stand in `<state>/jobs.sqlite`, so that a restart
forgets nothing: a job that was waiting or running is begun again, as all of them may be.
"""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.streams.text import TextReceiveStream

from app import metrics
from app.answers import Job, JobKind, Progress
from app.problems import Problem
from index.space.errors import BadInput
from index.tables import disk_errors, open_writable

TABLE = "jobs.sqlite"  # in a service's state
KEPT = 1000  # finished jobs that can still be asked for
GRACE_SECONDS = 3.0  # between asking a command to stop and killing it
LONGEST_ERROR = 2000
_ROOM_SECONDS = 5.0
_STATEMENTS = (
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, "
    "id TEXT UNIQUE, kind TEXT, status TEXT, job TEXT)",
)
_OVER = ("done", "failed", "cancelled")
_log = logging.getLogger(__name__)


class Jobs:
    """Starts jobs, follows them, remembers them. Called from the event loop only.

    Args:
        state: folder of the service's own.
        model: says the folder of the served model.
        releases: folder of the releases.
        collection: what a rebuild indexes; None, there are no rebuilds.
        stopping: whether the service has been told to stop.

    Raises:
        BadInput: `state` cannot be written.
        OSError: the disk is full.
    """

    def __init__(
        self,
        state: Path,
        model: Callable[[], Path | None],
        releases: Path,
        collection: Path | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._stopping = stopping
        self._path, self._table = state / TABLE, open_jobs(state)
        self._collection = collection
        self._model = model
        self._releases = ["--releases", str(releases)]
        self._state = ["--state", str(state)]
        self._taking_down = anyio.Lock()
        self._tasks: TaskGroup | None = None
        self._processes: dict[str, Process] = {}
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Run what was left unfinished and what is asked for, until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for job in self._select("WHERE status IN ('queued', 'running') ORDER BY number"):
                tasks.start_soon(self._run, job)
            await anyio.sleep_forever()

    def start(self, kind: JobKind, release: str) -> Job:
        """Queue a job.

        Args:
            release: what is served now.

        Raises:
            Problem: 409 `<kind>-running`; 409 `no-collection`, nothing to rebuild from.
        """
        running = self._select("WHERE kind = ? AND status IN ('queued', 'running')", kind)
        if running:
            where = f"/v1/admin/{kind}s/{running[0].id}"
            detail = f"one {kind} at a time; {running[0].id} is {running[0].status}: see {where}"
            raise Problem(409, f"{kind}-running", detail, {"Location": where})
        if kind == "rebuild" and self._collection is None:
            detail = (
                "a rebuild needs the collection's folder, which this service does not have; run "
                "`artkin rebuild` beside it, or start it with `--collection DIR`"
            )
            raise Problem(409, "no-collection", detail)
        return self._queue(kind, release)

    def take_down(self, release: str) -> None:
        """Queue the job that takes what was removed out of the releases on the disk, unless one
        waits already."""
        if not self._select("WHERE kind = 'takedown' AND status = 'queued'"):
            self._queue("takedown", release)

    def _queue(self, kind: JobKind, release: str) -> Job:
        job = Job(
            id=uuid.uuid4().hex, kind=kind, status="queued", index_version=release, created=_now()
        )
        self._save(job)
        self._forget()
        assert self._tasks is not None
        self._tasks.start_soon(self._run, job)
        return job

    def get(self, kind: JobKind, id_: str) -> Job:
        """A job by its id.

        Raises:
            Problem: 404 `no-such-job`.
        """
        found = self._select("WHERE kind = ? AND id = ?", kind, id_)
        if not found:
            raise Problem(404, "no-such-job", f"no {kind} has the id {id_[:64]!r}")
        return found[0]

    def page(self, limit: int, offset: int) -> tuple[int, list[Job]]:
        """How many jobs there are, and a page of them, the newest first."""
        (count,) = self._table.execute("SELECT COUNT(*) FROM jobs").fetchone()
        return count, self._select("ORDER BY number DESC LIMIT ? OFFSET ?", limit, offset)

    def cancel(self, kind: JobKind, id_: str) -> Job:
        """Stop a job; one that is over stays as it is.

        Raises:
            Problem: 404 `no-such-job`.
        """
        job = self.get(kind, id_)
        if job.status in _OVER:
            return job
        job = self._save(job.model_copy(update={"status": "cancelled", "finished": _now()}))
        if process := self._processes.get(id_):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        return job

    async def follow(self, kind: JobKind, id_: str) -> AsyncIterator[Job]:
        """A job now and after each change, until it is over."""
        shown = None
        while True:
            changed, job = self._changed, self.get(kind, id_)
            if job != shown:
                yield job
            if job.status in _OVER:
                return
            shown = job
            while not changed.is_set():
                if self._stopping():
                    return  # or the service would wait for its listeners
                with anyio.move_on_after(0.5):
                    await changed.wait()

    async def _run(self, job: Job) -> None:
        if job.kind == "takedown":
            async with self._taking_down:
                await self._do(job)
        else:
            await self._do(job)

    async def _do(self, job: Job) -> None:
        if not await self._keep(job.model_copy(update={"status": "running", "progress": None})):
            return  # cancelled before it began
        steps = {
            "evaluation": self._evaluate,
            "rebuild": self._rebuild,
            "takedown": self._take_down,
        }
        try:
            result = await steps[job.kind](job)
            outcome: dict[str, Any] = {"status": "done", "result": result, "progress": None}
        except BadInput as error:
            outcome = {"status": "failed", "error": str(error)[:LONGEST_ERROR]}
        last = self.get(job.kind, job.id)
        await self._keep(last.model_copy(update={**outcome, "finished": _now()}))

    async def _keep(self, job: Job) -> bool:
        """Save a job as soon as there is room for it, unless it is over.

        Returns:
            Whether it was saved.
        """
        said = ""
        while self.get(job.kind, job.id).status not in _OVER:
            try:
                self._save(job)
                return True
            except OSError as error:
                if str(error) != said:
                    _log.error("job %s is %s, to be saved later: %s", job.id, job.status, error)
                said = str(error)
                await anyio.sleep(_ROOM_SECONDS)
        return False

    async def _evaluate(self, job: Job) -> dict[str, Any]:
        asked = ["--release", job.index_version, "--json"]
        printed = await self._command(job, "evaluate", *self._releases, *self._of_model(), *asked)
        result: dict[str, Any] = json.loads("\n".join(printed))
        return result

    async def _rebuild(self, job: Job) -> dict[str, Any]:
        places = [*self._releases, *self._of_model(), *self._state]
        printed = await self._command(job, "rebuild", str(self._collection), *places)
        report: dict[str, Any] = _object(printed[-1])["report"]
        return report

    async def _take_down(self, job: Job) -> dict[str, Any]:
        printed = await self._command(job, "remove", *self._releases, *self._state)
        return {"said": [_object(line).get("message", line) for line in printed]}

    def _of_model(self) -> list[str]:
        model = self._model()
        return ["--model", str(model)] if model else []

    async def _command(self, job: Job, *command: str) -> list[str]:
        """Run an `artkin` command.

        Returns:
            The lines that it printed.

        Raises:
            BadInput: it failed, and says why.
        """
        whole = [sys.executable, "-m", "artkin", *command, "--progress", "json"]
        process = await anyio.open_process(whole, stdin=None, stdout=PIPE, stderr=PIPE)
        self._processes[job.id] = process
        lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        try:
            async with anyio.create_task_group() as readers:
                for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
                    assert stream is not None
                    readers.start_soon(self._read, job, stream, lines[name])
            code = await process.wait()
        finally:
            del self._processes[job.id]
            if process.returncode is None:  # the service stops: the job is begun again later
                process.kill()
        if code:
            last = lines["stderr"][-1] if lines["stderr"] else ""  # of a fault no object
            why = _object(last).get("error", last) or f"ended with {code}"
            raise BadInput(f"artkin {command[0]}: {why}")
        return lines["stdout"]

    async def _read(self, job: Job, stream: ByteReceiveStream, lines: list[str]) -> None:
        rest = ""
        async for text in TextReceiveStream(stream, errors="replace"):
            *whole, rest = (rest + text).split("\n")
            for line in whole:
                lines.append(line)
                if "step" in (said := _object(line)):
                    self._progress(job, said)
        if rest:
            lines.append(rest)

    def _progress(self, job: Job, said: dict[str, Any]) -> None:
        last = self.get(job.kind, job.id)
        if last.status == "running":
            progress = Progress.model_validate(said)
            with suppress(OSError):  # no room: the next may find some, and the end is kept
                self._save(last.model_copy(update={"progress": progress}))

    def _save(self, job: Job) -> Job:
        with disk_errors(self._path):
            self._table.execute(
                "INSERT INTO jobs (id, kind, status, job) VALUES (?, ?, ?, ?) ON CONFLICT (id) "
                "DO UPDATE SET status = excluded.status, job = excluded.job",
                (job.id, job.kind, job.status, job.model_dump_json()),
            )
        if job.status in _OVER:
            metrics.jobs.labels(job.kind, job.status).inc()
        self._changed.set()
        self._changed = anyio.Event()
        return job

    def _select(self, condition: str, *values: Any) -> list[Job]:
        found = self._table.execute(f"SELECT job FROM jobs {condition}", values)
        return [Job.model_validate_json(job) for (job,) in found.fetchall()]

    def _forget(self) -> None:
        with disk_errors(self._path):
            self._table.execute(
                "DELETE FROM jobs WHERE number <= (SELECT MAX(number) FROM jobs) - ?", (KEPT,)
            )


def open_jobs(state: Path) -> sqlite3.Connection:
    """The table of jobs of a service's state.

    Raises:
        BadInput: `state` cannot be written.
        OSError: the disk is full.
    """
    return open_writable(state / TABLE, _STATEMENTS, "state (--state or ARTKIN_STATE)")


def _object(line: str) -> dict[str, Any]:
    """What a command tells programs in a line; {} where it is no object."""
    with suppress(ValueError):
        if isinstance(found := json.loads(line), dict):
            return found
    return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
