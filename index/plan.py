"""What a job finds in a collection, and how that differs from a release.

One row a work, in a file outside of memory: a job takes no more of it for 50,000 works than for
1,000.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Container, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.collection import Work
from index.tables import disk_errors

KINDS = ("added", "changed", "moved", "described", "removed")
_SCHEMA = """
CREATE TABLE works (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    path BLOB NOT NULL,
    label TEXT,
    split TEXT,
    metadata TEXT NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE INDEX works_by_id ON works (id);
CREATE INDEX works_by_sha256 ON works (sha256);
CREATE TABLE missing (sha256 TEXT PRIMARY KEY, row INTEGER NOT NULL);
ATTACH ':memory:' AS old;
CREATE TABLE old.works (id TEXT, name TEXT, label TEXT, split TEXT, metadata TEXT, sha256 TEXT);
"""
_NOT_THE_SAME = "(n.label IS NOT o.label OR n.split IS NOT o.split OR n.metadata != o.metadata)"
# A work whose id is gone has moved if its file is there under an id that is new.
_GONE = "SELECT sha256 FROM old.works WHERE id NOT IN (SELECT id FROM works)"
_COME = "SELECT sha256 FROM works WHERE id NOT IN (SELECT id FROM old.works)"
_WHERE = {
    "added": f"FROM works n WHERE id NOT IN (SELECT id FROM old.works) AND sha256 NOT IN ({_GONE})",
    "changed": "FROM works n JOIN old.works o USING (id) WHERE n.sha256 != o.sha256",
    "moved": "FROM works n LEFT JOIN old.works o USING (id) "
    f"WHERE (o.id IS NULL AND n.sha256 IN ({_GONE})) OR (n.sha256 = o.sha256 AND n.name != o.name)",
    "described": f"FROM works n JOIN old.works o USING (id) WHERE {_NOT_THE_SAME} "
    "AND n.sha256 = o.sha256",
    "removed": "FROM old.works n WHERE id NOT IN (SELECT id FROM works) "
    f"AND sha256 NOT IN ({_COME})",
}


class Planned(NamedTuple):
    """A work whose picture may have to be read."""

    row: int
    name: str
    path: Path
    sha256: str


class Described(NamedTuple):
    """What a catalogue says of a work, but for its picture."""

    id: str
    name: str
    label: str | None
    split: str | None
    metadata: dict[str, str]
    sha256: str


@dataclass(frozen=True)
class Difference:
    """A work that is not as it was.

    Args:
        kind: of `KINDS`: added; changed, another picture under its id; moved, the same file under
            another name; described, another class, title or date; removed.
    """

    kind: str
    id: str
    name: str

    def as_json(self) -> str:
        """A line of `differences.jsonl`."""
        return json.dumps(asdict(self), ensure_ascii=False)


class Plan:
    """The works of a collection in their order. Made by `new_plan`."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def __len__(self) -> int:
        return int(self._file.execute("SELECT COUNT(*) FROM works").fetchone()[0])

    def add(self, works: Iterable[tuple[Work, str]]) -> None:
        """Add works with the SHA-256 of their files."""
        rows = (
            (
                *(work.id, work.name, os.fsencode(work.path), work.label, work.split),
                *(json.dumps(dict(work.metadata), ensure_ascii=False), sha256),
            )
            for work, sha256 in works
        )
        insert = (
            "INSERT INTO works (id, name, path, label, split, metadata, sha256) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        with self._file:
            self._file.executemany(insert, rows)

    def note_missing(self, known: Container[str]) -> int:
        """Note the pictures that are not known, of the same files one; how many they are."""
        with self._file:
            self._file.execute("DELETE FROM missing")
            rows = self._file.execute("SELECT sha256, MIN(row) FROM works GROUP BY sha256")
            self._file.executemany(
                "INSERT INTO missing VALUES (?, ?)", (one for one in rows if one[0] not in known)
            )
        return int(self._file.execute("SELECT COUNT(*) FROM missing").fetchone()[0])

    def missing(self) -> Iterator[Planned]:
        """A work for each picture that is not known."""
        for row, name, path, sha256 in self._file.execute(
            "SELECT row, name, path, sha256 FROM missing JOIN works USING (row, sha256) "
            "ORDER BY row"
        ):
            yield Planned(row, name, Path(os.fsdecode(path)), sha256)

    def described(self) -> Iterator[Described]:
        """Every work, as the catalogue will have it."""
        for id_, name, label, split, metadata, sha256 in self._file.execute(
            "SELECT id, name, label, split, metadata, sha256 FROM works ORDER BY row"
        ):
            yield Described(id_, name, label, split, json.loads(metadata), sha256)

    def drop(self, sha256: str) -> list[str]:
        """Take out the works of a file that cannot be used; their names."""
        with self._file:
            found = self._file.execute(
                "DELETE FROM works WHERE sha256 = ? RETURNING name", [sha256]
            ).fetchall()
        return [name for (name,) in found]

    def correct(self, digests: Iterable[tuple[int, str]]) -> None:
        """Rows with the digests of what was embedded: files that changed meanwhile."""
        with self._file:
            self._file.executemany(
                "UPDATE works SET sha256 = ? WHERE row = ?", [(sha, row) for row, sha in digests]
            )

    def compare_with(self, catalogue: Path | None) -> None:
        """Name the release that `differences` are from; None, an empty one."""
        self._file.execute("DETACH old")
        if catalogue is None:
            self._file.execute("ATTACH ':memory:' AS old")
            self._file.execute("CREATE TABLE old.works AS SELECT * FROM works WHERE 0")
        else:
            uri = f"{catalogue.resolve().as_uri()}?mode=ro&immutable=1"
            self._file.execute("ATTACH ? AS old", (uri,))

    def differences(self) -> Iterator[Difference]:
        """How the works differ from those of the release."""
        for kind in KINDS:
            for id_, name in self._file.execute(f"SELECT n.id, n.name {_WHERE[kind]}"):
                yield Difference(kind, id_, name)

    def new_rows(self) -> NDArray[np.int64]:
        """Rows, in a release of this plan, of works that are added or have another picture."""
        found = self._file.execute(
            "SELECT place FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY row) - 1 AS place "
            f"FROM works) WHERE id IN (SELECT n.id {_WHERE['added']} UNION ALL "
            f"SELECT n.id {_WHERE['changed']}) ORDER BY place"
        )
        return np.fromiter((place for (place,) in found), np.int64)

    def exact_copies(self) -> list[list[str]]:
        """Names of works whose files are the same, byte by byte."""
        found = self._file.execute(
            "SELECT json_group_array(name) FROM (SELECT name, sha256 FROM works ORDER BY row) "
            "GROUP BY sha256 HAVING COUNT(*) > 1"
        )
        return [json.loads(names) for (names,) in found]


@contextmanager
def new_plan() -> Iterator[Plan]:
    """An empty plan, gone when the block ends.

    Raises:
        OSError: the disk of the system's temporary folder is full.
    """
    with tempfile.TemporaryDirectory(prefix="artkin-") as folder:
        path = Path(folder, "plan.sqlite")
        with disk_errors(path), closing(sqlite3.connect(path, uri=True)) as file:
            # It lives as long as this process: nothing of it needs to be on the disk.
            file.execute("PRAGMA synchronous = OFF")
            file.execute("PRAGMA journal_mode = MEMORY")
            file.executescript(_SCHEMA)
            yield Plan(file)
