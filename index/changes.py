"""Works added and deleted between two rebuilds: what a service is told while it runs.

    changes/changes.sqlite     one row a work: added or deleted, the last word counts
    changes/pictures/          the added works' files

It outlives releases. The service applies it to whatever release it loads, `artkin index --changes`
builds it in: a deleted work stays deleted although its picture is still in the collection.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from index.collection import Work
from index.roots import Root
from index.space.artefact import new_file
from index.space.errors import BadInput

TABLE = "changes.sqlite"
PICTURES = "pictures"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    picture TEXT,
    label TEXT,
    metadata TEXT NOT NULL,
    time TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Change:
    """One work's last change.

    Args:
        number: later changes have greater ones.
        id: of the work.
        picture: its file; None, the work is deleted.
        label, metadata: see `index.collection.Work`.
    """

    number: int
    id: str
    picture: Path | None
    label: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def work(self) -> Work | None:
        """The work added, or None."""
        if self.picture is None:
            return None
        root = Root(self.picture.parent, "added/")
        return Work(self.id, root, self.picture.name, self.label, None, self.metadata)


class Changes:
    """The changes of a folder; usable from several threads, written by one process.

    Raises:
        BadInput: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._pictures = folder / PICTURES
        self._lock = threading.Lock()
        try:
            self._pictures.mkdir(parents=True, exist_ok=True)
            self._table = sqlite3.connect(folder / TABLE, check_same_thread=False)
            # Durable before it is answered: each commit is on the disk.
            self._table.execute("PRAGMA synchronous = FULL")
            self._table.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(
                f"changes must be kept in a folder that can be written; received {folder}: {error}"
            ) from error

    def add(self, id_: str, picture: bytes, label: str | None, metadata: dict[str, str]) -> Change:
        """Add a work, in the place of one with that id.

        Raises:
            OSError: the disk is full.
        """
        with self._lock:
            number = self._next()
            path = self._pictures / str(number)
            with new_file(path) as partial:
                partial.write_bytes(picture)
            return self._replace(Change(number, id_, path, label, metadata))

    def delete(self, id_: str) -> Change:
        """Delete a work, of a release or added; its picture, if it was added, is gone as well."""
        with self._lock:
            return self._replace(Change(self._next(), id_, None))

    def since(self, number: int) -> list[Change]:
        """Changes with greater numbers, in their order."""
        with self._lock:
            return _since(self._table, number, self._pictures)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._table.close()

    def _next(self) -> int:
        found = self._table.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        (last,) = found.fetchone() or (0,)
        return int(last) + 1

    def _replace(self, change: Change) -> Change:
        before = self._table.execute("SELECT picture FROM changes WHERE id = ?", (change.id,))
        (old,) = before.fetchone() or (None,)
        with self._table:
            self._table.execute("DELETE FROM changes WHERE id = ?", (change.id,))
            self._table.execute(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(change.number, change.id, change.picture and change.picture.name),
                    *(change.label, json.dumps(change.metadata, ensure_ascii=False)),
                    datetime.now(UTC).isoformat(timespec="seconds"),
                ),
            )
        if old:
            os.unlink(self._pictures / old)
        return change


def read_changes(folder: Path) -> list[Change]:
    """The changes of a folder that a service writes.

    Raises:
        BadInput: there are none.
    """
    table = folder / TABLE
    if not table.is_file():
        raise BadInput(
            f"--changes must be the folder `changes` in a service's --state; received {folder}, "
            f"which has no {TABLE}"
        )
    # Its folder may be mounted read-only, and the service may be writing to it.
    with closing(sqlite3.connect(f"{table.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return _since(connection, 0, folder / PICTURES)


def _since(table: sqlite3.Connection, number: int, pictures: Path) -> list[Change]:
    found = table.execute(
        "SELECT number, id, picture, label, metadata FROM changes WHERE number > ? ORDER BY number",
        (number,),
    )
    return [
        Change(number, id_, picture and pictures / picture, label, json.loads(metadata))
        for number, id_, picture, label, metadata in found.fetchall()
    ]
