"""What is known of each work of a release, in one SQLite file, read-only and immutable when read.

Rows are 0..n-1 and are the rows of the vectors and the thumbnails. A catalogue belongs to one
release and never changes, so readers need no locks on the file and work on a read-only mount.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from index.space.errors import ArtefactError
from index.tables import count_rows, new_table, open_table

# The columns stand in the order of the fields of `Entry`.
_SCHEMA = """
CREATE TABLE works (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    label TEXT,
    split TEXT,
    sha256 TEXT NOT NULL,
    seen INTEGER NOT NULL,
    greyscale INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    metadata TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Entry:
    """One work of a release.

    Args:
        row: its row in the vectors and thumbnails.
        id: stable and the collection's own.
        name: path of its picture inside the collection, forward slashes.
        label: its class, or None.
        split: "train", "test" or None.
        sha256: of the picture file.
        seen: whether the model was trained on, or chosen with, this very file.
        greyscale: whether the picture has no colour.
        width: of the upright picture as its file holds it, in pixels.
        height: the same.
        metadata: title, artist, date and whatever else the collection says of it.
    """

    row: int
    id: str
    name: str
    label: str | None
    split: str | None
    sha256: str
    seen: bool
    greyscale: bool
    width: int
    height: int
    metadata: dict[str, str] = field(default_factory=dict)


class Catalogue:
    """The works of a release; usable from several threads.

    Args:
        path: a file that `write_catalogue` wrote.

    Raises:
        ArtefactError: not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # a lookup takes microseconds; one connection serves all
        self._connection = open_table(path)
        self._count = count_rows(self._connection, "SELECT COUNT(*) FROM works", path)

    def __len__(self) -> int:
        return self._count

    def by_id(self, id_: str) -> Entry | None:
        """The work of that id, or None."""
        with self._lock:
            found = self._connection.execute("SELECT * FROM works WHERE id = ?", (id_,)).fetchone()
        return None if found is None else _entry(found)

    def by_rows(self, rows: Sequence[int]) -> list[Entry]:
        """The works of rows, in their order.

        Raises:
            ArtefactError: a row that the catalogue does not have.
        """
        return [self._by_row(int(row)) for row in rows]

    def entries(self) -> Iterator[Entry]:
        """Every work, in row order."""
        with closing(open_table(self._path)) as connection:
            for found in connection.execute("SELECT * FROM works ORDER BY row"):
                yield _entry(found)

    def close(self) -> None:
        """Close the file; lookups raise `sqlite3.ProgrammingError` afterwards."""
        with self._lock:
            self._connection.close()

    def _by_row(self, row: int) -> Entry:
        with self._lock:
            found = self._connection.execute("SELECT * FROM works WHERE row = ?", (row,)).fetchone()
        if found is None:
            raise ArtefactError(f"{self._path} has {len(self)} works, none at row {row}")
        return _entry(found)


def write_catalogue(path: Path, entries: Iterable[Entry]) -> None:
    """Write the works of a release, their rows 0..n-1 in order, to a new file.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with new_table(path, _SCHEMA) as table:
        for row, entry in enumerate(entries):
            if entry.row != row:
                raise ValueError(f"rows must be 0..n-1 in order; received {entry.row} at {row}")
            values = (*astuple(entry)[:-1], json.dumps(entry.metadata, ensure_ascii=False))
            table.execute("INSERT INTO works VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _entry(found: tuple[Any, ...]) -> Entry:
    row, id_, name, label, split, sha256, seen, greyscale, width, height, metadata = found
    return Entry(
        *(row, id_, name, label, split, sha256),
        *(bool(seen), bool(greyscale), width, height, json.loads(metadata)),
    )
