"""Pictures embedded already, by the digest of their files: none is embedded twice.

They are in earlier releases of the same model, and in a file beside the releases, one a model, that
a running job fills picture by picture: killed at any moment, it goes on from there, whatever the
nightly job of another model has done meanwhile. The file is gone when a release has what is in it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from index.progress import say
from index.release import Release
from index.space.encoder import PRECISION
from index.space.model import Model
from index.tables import disk_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    sha256 TEXT PRIMARY KEY,
    vector BLOB NOT NULL,
    thumbnail BLOB NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    greyscale INTEGER NOT NULL
)
"""


@dataclass(frozen=True)
class Embedded:
    """What is kept of a picture.

    Args:
        vector: float32 (dimension,), unit norm.
        thumbnail: its small picture, see `thumbnails.py`.
        width, height, greyscale: see `index.catalogue.Entry`.
    """

    sha256: str
    vector: NDArray[np.float32]
    thumbnail: bytes
    width: int
    height: int
    greyscale: bool


class Earlier:
    """The pictures that releases have.

    Args:
        releases: opened, of the same space.
    """

    def __init__(self, releases: Sequence[Release]) -> None:
        self._releases = releases

    def __contains__(self, sha256: object) -> bool:
        return any(release.catalogue.by_sha256(str(sha256)) for release in self._releases)

    def get(self, sha256: str) -> Embedded:
        """A picture that is there.

        Raises:
            KeyError: it is not.
        """
        for release in self._releases:
            for entry in release.catalogue.by_sha256(sha256)[:1]:
                vector = release.vectors.get(np.asarray([entry.row], np.int64))[0]
                thumbnail = release.thumbnail(entry)
                size = entry.width, entry.height
                return Embedded(sha256, vector, thumbnail, *size, entry.greyscale)
        raise KeyError(sha256)


class Known:
    """The pictures that a model has embedded; a context manager.

    Args:
        releases: folder of the releases, where the file is kept.
        model: whose space it is.
        earlier: opened releases of the same space.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, releases: Path, model: Model, earlier: Sequence[Release]) -> None:
        self._earlier = Earlier(earlier)
        self._path = _file_of(releases, model)
        self._dimension = model.manifest.dimension
        self._file = self._open()

    def __enter__(self) -> Known:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        """Pictures that no release has yet."""
        return int(self._file.execute("SELECT COUNT(*) FROM pictures").fetchone()[0])

    def __contains__(self, sha256: object) -> bool:
        found = self._file.execute("SELECT 1 FROM pictures WHERE sha256 = ?", (sha256,))
        if found.fetchone():
            return True
        return sha256 in self._earlier

    def get(self, sha256: str) -> Embedded:
        """A picture that is there.

        Raises:
            KeyError: it is not.
        """
        found = self._file.execute("SELECT * FROM pictures WHERE sha256 = ?", (sha256,)).fetchone()
        if found:
            _, vector, thumbnail, width, height, greyscale = found
            return Embedded(
                sha256, np.frombuffer(vector, np.float32), thumbnail, width, height, bool(greyscale)
            )
        return self._earlier.get(sha256)

    def add(self, pictures: Iterable[Embedded]) -> None:
        """Keep pictures, all or none of them, also when the process is killed the moment after.

        Raises:
            OSError: the disk is full.
        """
        rows = [
            (one.sha256, one.vector.tobytes(), one.thumbnail, one.width, one.height, one.greyscale)
            for one in pictures
        ]
        with disk_errors(self._path), self._file:
            self._file.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            say(f"warning: {self._path} is damaged ({error}); its pictures are embedded again")
            _remove(self._path)
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        with disk_errors(self._path), ExitStack() as unless_opened:
            file = unless_opened.enter_context(closing(sqlite3.connect(self._path)))
            # Nobody else opens it, so it needs no shared memory, which on a full disk is a fault.
            file.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Killed, nothing is lost; after a power cut the last pictures are embedded again.
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute(_SCHEMA)
            self._drop_damaged(file)
            unless_opened.pop_all()
            return file

    def _drop_damaged(self, file: sqlite3.Connection) -> None:
        """A flipped byte would be served for ever: what is not a unit vector is embedded again."""
        width = 4 * self._dimension
        with closing(file.execute("SELECT sha256, vector FROM pictures")) as rows:
            bad = [
                (sha256,)
                for sha256, vector in rows
                if len(vector) != width
                or not abs(np.linalg.norm(np.frombuffer(vector, np.float32)) - 1) < 1e-3
            ]
        with file:
            file.executemany("DELETE FROM pictures WHERE sha256 = ?", bad)


@contextmanager
def known_copy(releases: Path, model: Model, earlier: Sequence[Release]) -> Iterator[Known]:
    """What `Known` has, of a copy: SQLite writes where it only reads what a killed run left.

    Raises:
        OSError: the disk of the system's temporary folder is full.
    """
    with tempfile.TemporaryDirectory(prefix="artkin-") as folder:
        path = _file_of(releases, model)
        for one in path.parent.glob(f"{path.name}*"):
            shutil.copy(one, folder)
        with Known(Path(folder), model, earlier) as known:
            yield known


def forget(releases: Path, model: Model) -> None:
    """Remove a model's file: a release has what was in it."""
    _remove(_file_of(releases, model))


def forget_all(releases: Path) -> None:
    """Remove the files of all models: one may hold a picture that was taken down."""
    for path in releases.glob(".embedded-*.sqlite"):
        _remove(path)


def _file_of(releases: Path, model: Model) -> Path:
    return releases / f".embedded-{model.digest[:16]}-{PRECISION}.sqlite"


def _remove(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):  # and what SQLite keeps beside it
        one.unlink(missing_ok=True)
