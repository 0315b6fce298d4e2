"""Works added and removed between two rebuilds: what a service is told while it runs.

    changes/changes.sqlite     one row a work: added, removed or allowed again; the last word counts
    changes/pictures/          the added works' files

It outlives releases. The service applies it to whatever release it loads, `artkin rebuild` builds
it in: a removed work stays removed although its picture is still in the collection. Of a removed
work there are its id, its file's digest, when and why: no picture, no title.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from index.collection import Work
from index.roots import Root
from index.space.artefact import new_file
from index.space.errors import BadInput
from index.tables import disk_errors, open_writable

CHANGES = "changes"  # folder inside a service's state
TABLE = "changes.sqlite"
PICTURES = "pictures"
_ADDED = "added/"  # what the names of added works begin with
Kind = Literal["added", "removed", "allowed"]
_REMOVED = ("id", "time", "reason", "sha256")  # what is kept of a removed work
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    picture TEXT,
    label TEXT,
    metadata TEXT NOT NULL,
    time TEXT NOT NULL,
    reason TEXT,
    sha256 TEXT
)
"""


@dataclass(frozen=True)
class Change:
    """One work's last change.

    Args:
        number: later changes have greater ones.
        id: of the work.
        kind: "allowed": its removal was taken back, and the next rebuild has it again.
        picture: an added work's file.
        label, metadata: see `index.collection.Work`.
        time: UTC, ISO 8601.
        reason: why it was removed.
        sha256: of the removed work's file, which is not taken up under another name either.
    """

    number: int
    id: str
    kind: Kind
    picture: Path | None = None
    label: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    time: str = ""
    reason: str | None = None
    sha256: str | None = None

    def work(self) -> Work | None:
        """The work added, or None."""
        if self.picture is None:
            return None
        root = Root(self.picture.parent, _ADDED)
        return Work(self.id, root, self.picture.name, self.label, None, self.metadata)


class Changes:
    """The changes of a folder; usable from several threads and processes.

    Raises:
        BadInput: the folder cannot be made or written.
        OSError: the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures = folder / PICTURES
        self._lock = threading.Lock()
        # Durable before it is answered: each commit is on the disk.
        statements = ("PRAGMA synchronous = FULL", _SCHEMA)
        self._table = open_writable(folder / TABLE, statements, "where changes are kept")

    def add(self, id_: str, picture: bytes, label: str | None, metadata: dict[str, str]) -> Change:
        """Add a work, in the place of one with that id.

        Raises:
            OSError: the disk is full.
        """
        self._pictures.mkdir(exist_ok=True)
        path = self._pictures / uuid.uuid4().hex
        with new_file(path) as partial:
            partial.write_bytes(picture)
        return self._replace(id_, "added", path, label, metadata)

    def remove(self, id_: str, reason: str | None = None, sha256: str | None = None) -> Change:
        """Remove a work, of a release or added; its picture, if it was added, is gone as well.

        Args:
            sha256: of its file, where it is known.

        Raises:
            OSError: the disk is full.
        """
        return self._replace(id_, "removed", reason=reason, sha256=sha256)

    def allow(self, id_: str) -> Change:
        """Take a removal back.

        Raises:
            BadInput: the work is not removed.
            OSError: the disk is full.
        """
        last = next((change for change in self.since(0) if change.id == id_), None)
        if last is None or last.kind != "removed":
            raise BadInput(f"only a work that was removed can be allowed again; received {id_!r}")
        return self._replace(id_, "allowed", reason=last.reason)

    def take_over(self, removed: Iterable[Change]) -> None:
        """Remove what was removed elsewhere, but for works of which something is known here.

        Raises:
            OSError: the disk is full.
        """
        rows = [tuple(getattr(change, key) for key in _REMOVED) for change in removed]
        with self._transaction() as table:
            table.executemany(
                "INSERT OR IGNORE INTO changes (kind, metadata, id, time, reason, sha256) "
                "VALUES ('removed', '{}', ?, ?, ?, ?)",
                rows,
            )

    def since(self, number: int) -> list[Change]:
        """Changes with greater numbers, in their order."""
        with self._lock:
            return _since(self._table, number, self._pictures)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._table.close()

    def _replace(
        self,
        id_: str,
        kind: Kind,
        picture: Path | None = None,
        label: str | None = None,
        metadata: dict[str, str] | None = None,
        reason: str | None = None,
        sha256: str | None = None,
    ) -> Change:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction() as table:
            found = table.execute("SELECT picture FROM changes WHERE id = ?", (id_,)).fetchone()
            table.execute("DELETE FROM changes WHERE id = ?", (id_,))
            cursor = table.execute(
                "INSERT INTO changes (id, kind, picture, label, metadata, time, reason, sha256) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(id_, kind, picture and picture.name, label),
                    *(json.dumps(metadata or {}, ensure_ascii=False), now, reason, sha256),
                ),
            )
        if found and found[0]:
            os.unlink(self._pictures / found[0])
        number = int(cursor.lastrowid or 0)
        return Change(number, id_, kind, picture, label, metadata or {}, now, reason, sha256)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone among threads and processes."""
        with self._lock, disk_errors(self._folder / TABLE):
            self._table.execute("BEGIN IMMEDIATE")
            with self._table:
                yield self._table


def lines_of_removed(changes: Iterable[Change]) -> str:
    """The works taken down as JSON lines, for another machine."""
    return "".join(
        json.dumps({key: getattr(change, key) for key in _REMOVED}, ensure_ascii=False) + "\n"
        for change in changes
        if change.kind == "removed"
    )


def read_removed(lines: str) -> list[Change]:
    """The works of `lines_of_removed`.

    Raises:
        BadInput: it is not what that wrote.
    """
    try:
        found = [json.loads(line) for line in lines.splitlines()]
        rows = [{key: one[key] for key in _REMOVED} for one in found]
    except (ValueError, LookupError, TypeError):
        rows = [{"id": None}]
    if not all(row["id"] and all(isinstance(cell, str | None) for cell in row.values())
               for row in rows):  # fmt: skip
        raise BadInput(
            f"works taken down must be JSON lines of {', '.join(_REMOVED)}, which are text; "
            f"received {lines[:80]!r}"
        )
    return [Change(0, kind="removed", **row) for row in rows]


def is_added(name: str) -> bool:
    """Whether a catalogue's name is of a work that was added; a class may be called "added" too."""
    return re.fullmatch(rf"{_ADDED}[0-9a-f]{{32}}", name) is not None


def read_changes(folder: Path, number: int = 0) -> list[Change]:
    """The changes of a folder with greater numbers; none where nothing was ever changed.

    Raises:
        BadInput: the file is damaged, or its last writer was killed and it cannot be written.
        OSError: the disk is full.
    """
    table = folder / TABLE
    if not table.is_file() or not table.stat().st_size:  # its first writer made it and was killed
        return []
    try:
        # Its folder may be mounted read-only, and others may be writing to it.
        uri = f"{table.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return _since(connection, number, folder / PICTURES)
    except sqlite3.OperationalError:  # a writer was killed in the middle: a writer puts it right
        with closing(Changes(folder)) as changes:
            return changes.since(number)
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f"{table} must be the table of works added and taken down; received {error}; put one "
            "from a backup in its place"
        ) from error


def _since(table: sqlite3.Connection, number: int, pictures: Path) -> list[Change]:
    found = table.execute(
        "SELECT number, id, kind, picture, label, metadata, time, reason, sha256 FROM changes "
        "WHERE number > ? ORDER BY number",
        (number,),
    )
    return [
        Change(
            *(which, id_, kind), picture and pictures / picture, *(label, json.loads(said)), *rest
        )
        for which, id_, kind, picture, label, said, *rest in found.fetchall()
    ]
