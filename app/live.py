"""Works added and taken down while a release is served.

They are changed in memory, the files stay as they are. Searches hold `lock` to read and a change
holds it to write: searching from several threads is safe, changing the index meanwhile is not.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
from fasteners import ReaderWriterLock

from app import metrics
from index.catalogue import Entry
from index.changes import Change, is_added, read_changes
from index.collection import Work
from index.embedding import entry_of
from index.reading import read_picture
from index.release import Release
from index.space.artefact import sha256_of
from index.space.encoder import Encoder
from index.space.errors import ImageRejected
from index.thumbnails import make_thumbnail
from index.vectors import Floats

_log = logging.getLogger(__name__)


class LiveRelease:
    """A release and the changes that were applied to it.

    Args:
        encoder: of the release's model.
    """

    def __init__(self, release: Release, encoder: Encoder) -> None:
        self.lock = ReaderWriterLock()
        self.changed = 0  # number of the last change applied
        self._not_built_in: set[str] = set()  # works that the release does not have as they are now
        self._release = release
        self._encoder = encoder
        self._next_row = release.manifest.works
        self._catching_up = threading.Lock()

    def catch_up(self, changes: Path) -> None:
        """Apply the changes of a folder that came since the last call; a work that cannot be used
        is logged."""
        with self._catching_up:
            for change in read_changes(changes, self.changed):
                self._apply(change)
                self.changed = change.number
            metrics.works.set(len(self._release.vectors))
            metrics.changes_waiting.set(len(self._not_built_in))

    def _apply(self, change: Change) -> None:
        if change.kind == "allowed":
            return  # the next rebuild has it again
        work = change.work()
        if work is not None and self._has(work):
            return  # a rebuild has it already
        added = None
        if work is not None:
            try:
                added = self._prepare(work)
            except ImageRejected as error:
                _log.error("the work %r that was added cannot be used: %s", work.id, error)
        release, gone = self._release, self._before(change)
        had = any(entry.row < release.manifest.works for entry in gone)
        if had or added is not None:
            self._not_built_in.add(change.id)
        else:
            self._not_built_in.discard(change.id)
        with self.lock.write_lock():
            for before in gone:
                release.vectors.delete(np.asarray([before.row], np.int64))
                release.catalogue.delete(before.row)
            if added is not None:
                entry, vector, thumbnail = added
                release.vectors.add(vector, np.asarray([entry.row], np.int64))
                release.catalogue.insert(entry)
                release.thumbnails.insert(entry.row, thumbnail)
                self._next_row += 1

    def _before(self, change: Change) -> list[Entry]:
        """The work as it was, and of a removed one the same file under other names."""
        catalogue = self._release.catalogue
        found = catalogue.by_id(change.id)
        others = catalogue.by_sha256(change.sha256) if change.sha256 else []
        same = [entry for entry in others if not is_added(entry.name)]
        return list({e.row: e for e in [*([found] if found else []), *same]}.values())

    def _has(self, added: Work) -> bool:
        entry = self._release.catalogue.by_id(added.id)
        if entry is None or (entry.label, entry.metadata) != (added.label, added.metadata):
            return False
        return added.path.is_file() and entry.sha256 == sha256_of(added.path)

    def _prepare(self, added: Work) -> tuple[Entry, Floats, bytes]:
        model = self._encoder.model
        picture, pixels, image = read_picture(added.path, model.manifest.preprocessing)
        entry = entry_of(self._next_row, added, picture, picture.sha256 in model.seen_works())
        return entry, self._encoder.encode(pixels[np.newaxis]), make_thumbnail(image)
