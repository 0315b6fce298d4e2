"""Follows `releases/current`: what it points to is loaded beside what is served, then swapped in.

A release that cannot be served is refused in the log and the old one serves on; with nothing to
serve, the service is alive and says why it is not ready.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread

from app import metrics
from app.answers import Item, Releases, ReleaseSummary
from app.decoding import Decoder
from app.loading import load
from app.options import PictureOptions
from app.problems import Problem, unavailable
from app.serving import Serving
from index.changes import Changes, is_added
from index.ids import ID_RULE, is_usable_id
from index.match import model_for
from index.rebuilt import last_rebuilt
from index.release import manifest_of
from index.releases import CURRENT, current_release, release_ids
from index.rollback import roll_back
from index.space.artefact import MANIFEST
from index.space.errors import ArtefactError, ArtkinError, BadInput
from index.takedown import is_in_any

POLL_SECONDS = 1.0
CHANGES_SECONDS = 0.25  # a work taken down is out of all answers within a second
# What was refused is tried again when it changes, and now and then: its disk may have been away.
RETRY_SECONDS = 30.0
MOST_FIELDS, LONGEST_NAME, LONGEST_TEXT = 50, 64, 5000
# Fields that the catalogue has of itself, and options of searches, which are no columns.
OWN_FIELDS = frozenset(PictureOptions.model_fields) | {"greyscale", "image", "limit", "q"}
_log = logging.getLogger(__name__)


class Follower:
    """Holds what is served and keeps it up to date.

    Args:
        model: the model's folder, or None.
        releases: the folder with `current` in it.
        announce: told of each release that begins to be served.
        decoder: of uploaded pictures.
        changes: folder of the works added and removed while the service runs.
    """

    def __init__(
        self,
        model: Path | None,
        releases: Path,
        announce: Callable[[Serving], None],
        decoder: Decoder,
        changes: Path,
    ) -> None:
        self._model = model
        self._releases = releases
        self._announce = announce
        self._decoder = decoder
        self._changes = changes
        self._writer: Changes | None = None
        self._serving: Serving | None = None
        self._served: object = None  # what was on disk when it was loaded or refused
        self._refused: object = None
        self._retry_at = 0.0
        self._reason = "the release is being loaded"
        self._changing = threading.Lock()
        self._loading = threading.Lock()  # one at a time: loading peaks at twice the index

    def serving(self) -> Serving:
        """What is served now; take it once a request.

        Raises:
            Problem: 503 `not-ready`, with the reason and the command to run.
        """
        serving = self._serving
        if serving is None:
            raise unavailable("not-ready", self._reason)
        return serving

    def model(self) -> Path | None:
        """The folder of the model served, or to be served."""
        return self._serving.encoder.model.folder if self._serving else self._model

    async def run(self) -> None:
        """Follow until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, self.look, POLL_SECONDS)
            tasks.start_soon(self._run, self._follow_changes, CHANGES_SECONDS)

    async def _run(self, step: Callable[[], None], seconds: float) -> None:
        while True:
            await to_thread.run_sync(step)
            await anyio.sleep(seconds)

    def _follow_changes(self) -> None:
        """Apply what `artkin remove` took down: it is another process."""
        try:
            if self._serving is not None:
                self._serving.catch_up(self._changes)
        except (ArtkinError, OSError, sqlite3.Error) as error:
            _log.error("changes cannot be read, and are tried again: %s", error)

    def reload(self, wait: bool = False) -> Serving:
        """Load what is published now, also what was refused a moment ago.

        Args:
            wait: for a load that is going on, which may have begun with what was published before.

        Returns:
            What is served.

        Raises:
            Problem: 409 `reload-running`; 409 `release-refused`, with the reason, and what was
                served before is served on.
        """
        if not self._loading.acquire(blocking=wait):
            detail = "one reload at a time, and one is running; wait for /readyz"
            raise Problem(409, "reload-running", detail, {"Retry-After": "1"})
        try:
            self._retry_at = 0.0
            self._look()
        finally:
            self._loading.release()
        if self._reason:
            raise Problem(409, "release-refused", self._reason)
        return self.serving()

    def rollback(self, id_: str | None) -> Serving:
        """Publish another release and load it.

        Args:
            id_: the release; None, the one before the published.

        Returns:
            What is served.

        Raises:
            Problem: 409 `nothing-before`, 409 `release-refused`, 409 `releases-read-only`, 404
                `no-such-release`.
        """
        if id_ is not None and id_ not in (ids := release_ids(self._releases)):
            detail = f"the release must be one of {', '.join(ids)}; received {id_!r}"
            raise Problem(404, "no-such-release", detail)
        try:
            roll_back(self._releases, id_)
        except BadInput as error:
            raise Problem(409, "nothing-before", str(error)) from error
        except ArtefactError as error:
            raise Problem(409, "release-refused", str(error)) from error
        except OSError as error:
            detail = f"{self._releases} must be writable to publish: {error.strerror}"
            raise Problem(409, "releases-read-only", detail) from error
        return self.reload(wait=True)

    def add(self, id_: str, picture: bytes, label: str | None, metadata: dict[str, str]) -> Item:
        """Add a work to what is served, for good.

        Raises:
            ImageRejected: its picture cannot be used.
            BadInput: its id cannot.
            Problem: 409 `id-taken`.
        """
        if not is_usable_id(id_):
            raise BadInput(f"{ID_RULE}; received {id_[:200]!r}")
        _check_metadata({"class": label or "", **metadata})
        serving = self.serving()
        serving.try_picture(picture)
        with self._changing:
            if serving.release.catalogue.by_id(id_) is not None:
                detail = f"an id must be new; a work has {id_[:128]!r}: delete it first"
                raise Problem(409, "id-taken", detail)
            self._journal().add(id_, picture, label, {"title": id_, **metadata})
            return self._catch_up().item(id_)

    def remove(self, id_: str, reason: str | None) -> Serving:
        """Take a work down: out of what is served, and of all that will be.

        Args:
            reason: why, kept on record.

        Raises:
            Problem: 404 `no-such-item`.
        """
        with self._changing:
            entry = self.serving().entry(id_)
            # Of a work that was added only, its file may be in the collection by right.
            digest = None if is_added(entry.name) else entry.sha256
            self._journal().remove(id_, reason, digest)
            return self._catch_up()

    def is_on_disk(self, id_: str) -> bool:
        """Whether a release on the disk has a work, as one that was only added has not."""
        return is_in_any(self._releases, id_)

    def _journal(self) -> Changes:
        """Where changes are written: opened with the first, since most services see none."""
        if self._writer is None:
            self._writer = Changes(self._changes)
        return self._writer

    def _catch_up(self) -> Serving:
        serving = self.serving()
        serving.catch_up(self._changes)
        return serving

    def releases(self) -> Releases:
        """The releases on the disk; one that cannot be read is not among them."""
        published = os.path.realpath(self._releases / CURRENT)
        found = []
        for id_ in reversed(release_ids(self._releases)):
            folder = self._releases / id_
            with suppress(ArtefactError):
                manifest = manifest_of(folder)
                found.append(
                    ReleaseSummary(
                        id=id_,
                        works=manifest.works,
                        model=manifest.model,
                        created=manifest.created,
                        published=os.path.realpath(folder) == published,
                    )
                )
        return Releases(releases=found)

    def look(self) -> None:
        """Load what is published unless it is served already or was refused a moment ago."""
        with self._loading:
            self._look()
        metrics.note_rebuilt(last_rebuilt(self._releases))

    def _look(self) -> None:
        try:
            model, release = self._published()
            state = (_state(model), _state(release))
            if state == self._served:
                self._reason = ""
                metrics.release_refused.set(0)
            elif state != self._refused or time.monotonic() >= self._retry_at:
                self._refused = state  # until it is loaded
                self._swap(load(model, release, self._serving, self._decoder, self._changes), state)
        except (ArtkinError, OSError) as error:
            self._refuse(str(error))
        except Exception as error:  # whatever it is, the old release must serve on
            _log.exception("a fault while loading")
            self._refuse(f"a fault of artkin's own while loading, see the log: {error!r}")

    def _published(self) -> tuple[Path, Path]:
        if self._model is None:
            raise ArtefactError("no model is given; start with `artkin serve --model DIR`")
        release = current_release(self._releases)
        return model_for(self._model, manifest_of(release)), release

    def _swap(self, serving: Serving, state: object) -> None:
        self._served, self._refused, self._reason = state, None, ""
        self._serving = serving
        serving.catch_up(self._changes)  # what came while it was being loaded
        metrics.note_release(serving.release.manifest.created, serving.versions())
        self._announce(serving)

    def _refuse(self, reason: str) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        metrics.release_refused.set(1)
        if reason == self._reason:
            return
        self._reason = reason
        if self._serving is None:
            _log.error("not ready: %s", reason)
        else:
            _log.error("refused, release %s serves on: %s", self._serving.release.id, reason)


def _check_metadata(said: dict[str, str]) -> None:
    """What strangers see of a work is text of a length that can be read."""
    if len(said) > MOST_FIELDS:
        raise BadInput(f"a work has at most {MOST_FIELDS} fields; received {len(said)}")
    for name, text in said.items():
        if name in OWN_FIELDS or not name.isprintable() or '"' in name or len(name) > LONGEST_NAME:
            raise BadInput(
                f"a field's name has at most {LONGEST_NAME} printed characters, no '\"', and is "
                f"none of {', '.join(sorted(OWN_FIELDS))}; received {name[:200]!r}"
            )
        if len(text) > LONGEST_TEXT or "\0" in text:
            raise BadInput(
                f"a field's text has at most {LONGEST_TEXT} characters and no NUL; {name!r} has "
                f"{len(text)}"
            )


def _state(folder: Path) -> tuple[str, int, int]:
    """Changes when a folder is replaced, or a link to it is switched."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return str(folder.resolve()), 0, 0  # loading it says what is wrong
    return str(folder.resolve()), status.st_ino, status.st_mtime_ns
