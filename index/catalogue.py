"""What is known of each work of a release, in one SQLite file, read-only and immutable when read.

Rows are 0..n-1 and are the rows of the vectors and the thumbnails. A catalogue belongs to one
release and never changes, so readers need no locks on the file and work on a read-only mount.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.dates import years
from index.filters import DATE, Term, condition, facet_value, fold
from index.space.errors import ArtefactError, BadInput
from index.tables import count_rows, new_table, open_table

# The columns of `works` stand in the order of the fields of `Entry`; the years are those of its
# date. `facets` is what filters ask, `words` what people type, `places` the map; works added while
# a service runs have no place on it until the next rebuild.
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
    metadata TEXT NOT NULL,
    first_year INTEGER,
    last_year INTEGER
);
CREATE TABLE facets (field TEXT NOT NULL, value TEXT NOT NULL, shown TEXT NOT NULL, row INTEGER);
CREATE TABLE places (row INTEGER PRIMARY KEY, x REAL NOT NULL, y REAL NOT NULL);
CREATE INDEX works_by_sha256 ON works (sha256);
CREATE INDEX facets_by_value ON facets (field, value, row);
CREATE VIRTUAL TABLE words USING fts5 (
    title, artist, other, tokenize = "unicode61 remove_diacritics 2", prefix = "2 3"
);
"""
_KEYS = {"works": "row", "facets": "row", "words": "rowid", "places": "row"}
_FILTERS_KEPT = 64
_LONGEST_FACET = 200  # letters; longer ones are descriptions, to be searched by words


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

    @property
    def title(self) -> str:
        """The collection's, else the name of its file without the ending."""
        return self.metadata.get("title") or PurePosixPath(self.name).stem


class Facet(NamedTuple):
    """A field that works can be told apart by.

    Args:
        values: how many it has.
        counts: some of them with the works that have them, the most frequent first.
    """

    field: str
    values: int
    counts: list[tuple[str, int]]


class Place(NamedTuple):
    """Where a work stands on the map, from -1 to 1."""

    id: str
    label: str | None
    x: float
    y: float


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
        self._in_memory = False
        # Rows that filters let through: the next page, or the next picture, has the same filter.
        self._selected: dict[tuple[Term, ...], NDArray[np.int64]] = {}
        self._learn_fields()

    def __len__(self) -> int:
        return self._count

    def by_id(self, id_: str) -> Entry | None:
        """The work of that id, or None."""
        found = self._ask("SELECT * FROM works WHERE id = ?", [id_])
        return _entry(found[0]) if found else None

    def by_sha256(self, sha256: str) -> Entry | None:
        """A work whose picture file has that digest, or None."""
        found = self._ask("SELECT * FROM works WHERE sha256 = ? LIMIT 1", [sha256])
        return _entry(found[0]) if found else None

    def by_rows(self, rows: Sequence[int]) -> list[Entry]:
        """The works of rows, in their order.

        Raises:
            ArtefactError: a row that the catalogue does not have.
        """
        return [self._by_row(int(row)) for row in rows]

    def select(self, terms: list[Term]) -> NDArray[np.int64]:
        """Rows of the works that a filter lets through, ascending.

        Raises:
            BadInput: a field that no work of this catalogue has.
        """
        key = tuple(terms)
        rows = self._selected.get(key)
        if rows is None:
            where, values = self._condition(terms)
            found = self._ask(f"SELECT row FROM works WHERE {where} ORDER BY row", values)
            rows = np.fromiter((row for (row,) in found), np.int64, len(found))
            if len(self._selected) >= _FILTERS_KEPT:
                self._selected.clear()
            self._selected[key] = rows
        return rows

    def find(
        self, words: str, terms: list[Term], limit: int, offset: int
    ) -> tuple[int, list[Entry]]:
        """Works by words in their title, artist and other text, the best match first, or, without
        words, by row; each word may be the beginning of one.

        Returns:
            How many there are, and those from `offset` on, at most `limit`.

        Raises:
            BadInput: a field that no work of this catalogue has.
        """
        where, values = self._condition(terms)
        tables, order = "works", "row"
        if words.strip():
            tables = "works JOIN words ON words.rowid = works.row"
            where, values = f"words MATCH ? AND {where}", [_match(words), *values]
            # A word of the title counts ten times one of the other text, an artist's five times.
            order = "bm25(words, 10.0, 5.0, 1.0), row"
        (count,) = self._ask(f"SELECT COUNT(*) FROM {tables} WHERE {where}", values)[0]
        found = self._ask(
            f"SELECT works.* FROM {tables} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return count, [_entry(row) for row in found]

    def facets(self, terms: list[Term], limit: int) -> list[Facet]:
        """What works can be told apart by, under a filter: fields with their values' counts.

        Fields whose values all differ tell nothing and are left out.

        Args:
            limit: values of a field, the most frequent first.

        Raises:
            BadInput: a field that no work of this catalogue has.
        """
        where, values = self._condition(terms)
        found = self._ask(
            "SELECT field, MIN(shown), COUNT(*) AS works FROM facets "
            f"WHERE {where} GROUP BY field, value ORDER BY field, works DESC, value",
            values,
        )
        fields: dict[str, list[tuple[str, int]]] = {}
        for field_, shown, works in found:
            if field_ in self._shared:
                fields.setdefault(field_, []).append((shown, works))
        return [Facet(name, len(counts), counts[:limit]) for name, counts in fields.items()]

    def map(self, terms: list[Term], limit: int, offset: int) -> tuple[int, list[Place]]:
        """Where works stand on the map, by row.

        Returns:
            How many do under the filter, and those from `offset` on, at most `limit`.

        Raises:
            BadInput: a field that no work of this catalogue has.
        """
        where, values = self._condition(terms)
        ((count,),) = self._ask(f"SELECT COUNT(*) FROM places WHERE {where}", values)
        found = self._ask(
            "SELECT id, label, x, y FROM places JOIN works USING (row) "
            f"WHERE {where} ORDER BY row LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return count, [Place(*row) for row in found]

    def places(self) -> dict[int, tuple[float, float]]:
        """x and y on the map by row."""
        return {row: (x, y) for row, x, y in self._ask("SELECT row, x, y FROM places")}

    def entries(self) -> Iterator[Entry]:
        """Every work that the file has, in row order."""
        with closing(open_table(self._path)) as connection:
            for found in connection.execute("SELECT * FROM works ORDER BY row"):
                yield _entry(found)

    def insert(self, entry: Entry) -> None:
        """Add a work, in memory: the file stays as it is."""
        self._to_memory()
        with self._lock, self._connection:
            _insert(self._connection, entry)
        self._learn_fields()

    def delete(self, row: int) -> None:
        """Delete a work, in memory: the file stays as it is."""
        self._to_memory()
        with self._lock, self._connection:
            for table, key in _KEYS.items():
                self._connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))
        self._learn_fields()

    def close(self) -> None:
        """Close the file; lookups raise `sqlite3.ProgrammingError` afterwards."""
        with self._lock:
            self._connection.close()

    def _by_row(self, row: int) -> Entry:
        found = self._ask("SELECT * FROM works WHERE row = ?", [row])
        if not found:
            raise ArtefactError(f"{self._path} has {len(self)} works, none at row {row}")
        return _entry(found[0])

    def _learn_fields(self) -> None:
        self._selected.clear()
        fields = self._ask("SELECT field, COUNT(*) > COUNT(DISTINCT value) FROM facets GROUP BY 1")
        self._fields = {name for name, _ in fields}
        self._shared = {name for name, is_shared in fields if is_shared}
        self._count = self._ask("SELECT COUNT(*) FROM works")[0][0]

    def _to_memory(self) -> None:
        with self._lock:
            if not self._in_memory:
                copy = sqlite3.connect(":memory:", check_same_thread=False)
                self._connection.backup(copy)
                self._connection.close()
                self._connection, self._in_memory = copy, True

    def _condition(self, terms: list[Term]) -> tuple[str, list[Any]]:
        for term in terms:
            if term.field != DATE and term.field not in self._fields:
                known = ", ".join([DATE, *sorted(self._fields)])
                raise BadInput(f"a filter's field must be one of {known}; received {term.field!r}")
        return condition(terms)

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(question, values).fetchall()


def write_catalogue(path: Path, entries: Iterable[Entry], places: Iterable[Any] = ()) -> None:
    """Write the works of a release, their rows 0..n-1 in order, to a new file.

    Args:
        places: x and y of each on the map.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with new_table(path, _SCHEMA) as table:
        for row, entry in enumerate(entries):
            if entry.row != row:
                raise ValueError(f"rows must be 0..n-1 in order; received {entry.row} at {row}")
            _insert(table, entry)
        rows = ((row, float(x), float(y)) for row, (x, y) in enumerate(places))
        table.executemany("INSERT INTO places VALUES (?, ?, ?)", rows)


def _insert(table: sqlite3.Connection, entry: Entry) -> None:
    metadata = json.dumps(entry.metadata, ensure_ascii=False)
    span = years(entry.metadata.get(DATE, "")) or (None, None)
    values = (*astuple(entry)[:-1], metadata, *span)
    table.execute(f"INSERT INTO works VALUES (?{', ?' * 12})", values)
    facets = [(name, facet_value(name, shown), shown, entry.row) for name, shown in _facets(entry)]
    table.executemany("INSERT INTO facets VALUES (?, ?, ?, ?)", facets)
    table.execute(
        "INSERT INTO words (rowid, title, artist, other) VALUES (?, ?, ?, ?)",
        (entry.row, *_words(entry)),
    )


def _facets(entry: Entry) -> Iterator[tuple[str, str]]:
    """Fields and their values that a filter may ask for."""
    if entry.label is not None:
        yield "class", entry.label
    yield "greyscale", "yes" if entry.greyscale else "no"
    for name, shown in entry.metadata.items():
        if name not in ("title", "class", "greyscale", DATE) and len(shown) <= _LONGEST_FACET:
            yield fold(name), shown


def _words(entry: Entry) -> tuple[str, str, str]:
    """Title, artist and the rest as people look for them."""
    rest = {k: v for k, v in entry.metadata.items() if k not in ("title", "artist")}
    # "post_impressionism" is two words to whoever types one of them.
    label = (entry.label or "").replace("_", " ")
    other = " ".join([entry.id, label, *rest.values()])
    return entry.title, entry.metadata.get("artist", ""), other


def _match(words: str) -> str:
    """Typed words as FTS5 asks for beginnings of words; all must be there."""
    return " ".join('"' + word.replace('"', '""') + '"*' for word in words.split())


def _entry(found: tuple[Any, ...]) -> Entry:
    row, id_, name, label, split, sha256, seen, greyscale, width, height, metadata, *_ = found
    return Entry(
        *(row, id_, name, label, split, sha256),
        *(bool(seen), bool(greyscale), width, height, json.loads(metadata)),
    )
