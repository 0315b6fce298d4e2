"""The small pictures of a release, as blobs in one SQLite file.

One file to hash, sync and copy, and blobs of this size are read faster from it than from files of
their own (https://sqlite.org/fasterthanfs.html). They are made from the very image that is
embedded: upright, opaque, sRGB.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from index.tables import count_rows, new_table, open_table

LONG_SIDE = 320
MEDIA_TYPE = "image/webp"
_QUALITY = 80
_EFFORT = 2  # 5.4 ms and 12.0 KB a picture; the default, 4, takes 9.2 ms for 11.6 KB


def make_thumbnail(image: Image.Image) -> bytes:
    """A WebP of at most 320 pixels a side, without EXIF (places, cameras), XMP or ICC.

    Args:
        image: RGB, from `preprocessing.decode`.
    """
    scale = min(1.0, LONG_SIDE / max(image.size))
    # A side of a very thin picture would round to 0.
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=_QUALITY, method=_EFFORT, exif=b"", xmp=b"", icc_profile=b"")
    return file.getvalue()


class Thumbnails:
    """The thumbnails of a release by row; usable from several threads.

    Raises:
        ArtefactError: not a file that `thumbnail_writer` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._added: dict[int, bytes] = {}
        self._connection = open_table(path)
        self._count = count_rows(self._connection, "SELECT COUNT(*) FROM thumbnails", path)

    def __len__(self) -> int:
        return self._count

    def get(self, row: int) -> bytes | None:
        """The WebP of a row, or None."""
        if row in self._added:
            return self._added[row]
        with self._lock:
            found = self._connection.execute(
                "SELECT webp FROM thumbnails WHERE row = ?", (row,)
            ).fetchone()
        return None if found is None else bytes(found[0])

    def insert(self, row: int, webp: bytes) -> None:
        """Add one, in memory: the file stays as it is."""
        self._added[row] = webp

    def close(self) -> None:
        """Close the file; `get` raises `sqlite3.ProgrammingError` afterwards."""
        with self._lock:
            self._connection.close()


@contextmanager
def thumbnail_writer(path: Path) -> Iterator[Callable[[int, bytes], None]]:
    """Write a new file of thumbnails; complete when the block ends.

    Yields:
        A function that takes a row not there yet and its WebP.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    schema = "CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, webp BLOB NOT NULL)"
    with new_table(path, schema) as table:

        def add(row: int, webp: bytes) -> None:
            table.execute("INSERT INTO thumbnails VALUES (?, ?)", (row, webp))

        yield add
