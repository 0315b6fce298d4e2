"""Follows `releases/current`: what it points to is loaded beside what is served, then swapped in.

A release that cannot be served is refused in the log and the old one serves on; with nothing to
serve, the service is alive and says why it is not ready.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio import to_thread

from app.decoding import Decoder
from app.problems import unavailable
from app.serving import Serving, load
from index.release import current_release
from index.space.artefact import MANIFEST
from index.space.errors import ArtefactError, ArtkinError

POLL_SECONDS = 1.0
# What was refused is tried again when it changes, and now and then: its disk may have been away.
RETRY_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Follower:
    """Holds what is served and keeps it up to date.

    Args:
        model: the model's folder, or None.
        releases: the folder with `current` in it.
        announce: told of each release that begins to be served.
        decoder: of uploaded pictures.
    """

    def __init__(
        self,
        model: Path | None,
        releases: Path,
        announce: Callable[[Serving], None],
        decoder: Decoder,
    ) -> None:
        self._model = model
        self._releases = releases
        self._announce = announce
        self._decoder = decoder
        self._serving: Serving | None = None
        self._served: object = None  # what was on disk when it was loaded or refused
        self._refused: object = None
        self._retry_at = 0.0
        self._reason = "the release is being loaded"

    def serving(self) -> Serving:
        """What is served now; take it once a request.

        Raises:
            Problem: 503 `not-ready`, with the reason and the command to run.
        """
        serving = self._serving
        if serving is None:
            raise unavailable("not-ready", self._reason)
        return serving

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await to_thread.run_sync(self.look)
            await anyio.sleep(POLL_SECONDS)

    def look(self) -> None:
        """Load what is published unless it is served already or was refused a moment ago."""
        try:
            model, release = self._published()
            state = (_state(model), _state(release))
            if state == self._served:
                self._reason = ""
            elif state != self._refused or time.monotonic() >= self._retry_at:
                self._refused = state  # until it is loaded
                self._swap(load(model, release, self._serving, self._decoder), state)
        except (ArtkinError, OSError) as error:
            self._refuse(str(error))
        except Exception as error:  # whatever it is, the old release must serve on
            _log.exception("a fault while loading")
            self._refuse(f"a fault of artkin's own while loading, see the log: {error!r}")

    def _published(self) -> tuple[Path, Path]:
        if self._model is None:
            raise ArtefactError("no model is given; start with `artkin serve --model DIR`")
        return self._model, current_release(self._releases)

    def _swap(self, serving: Serving, state: object) -> None:
        self._served, self._refused, self._reason = state, None, ""
        self._serving = serving
        self._announce(serving)

    def _refuse(self, reason: str) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if reason == self._reason:
            return
        self._reason = reason
        if self._serving is None:
            _log.error("not ready: %s", reason)
        else:
            _log.error("refused, release %s serves on: %s", self._serving.release.id, reason)


def _state(folder: Path) -> tuple[str, int, int]:
    """Changes when a folder is replaced, or a link to it is switched."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return str(folder.resolve()), 0, 0  # loading it says what is wrong
    return str(folder.resolve()), status.st_ino, status.st_mtime_ns
