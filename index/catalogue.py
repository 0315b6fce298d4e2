"""What is known of each work of a release, in one SQLite file, read-only and immutable when read.

Rows are 0..n-1 and are the rows of the vectors and the thumbnails. A catalogue belongs to one
release and never changes, so readers need no locks on the file and work on a read-only mount.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.centuries import by_years
from index.entries import KEYS, SCHEMA, Entry, entry_of
from index.entries import insert as insert_rows
from index.filters import DATE, Term, condition
from index.space.errors import ArtefactError, BadInput
from index.tables import count_rows, new_table, open_table

__all__ = ["Catalogue", "Entry", "Facet", "Place", "write_catalogue"]

_FILTERS_KEPT = 64


class Facet(NamedTuple):
    """A field that works can be told apart by.

    Args:
        values: how many it has.
        counts: some of them with the works that have them, the most frequent first; of `date`
            in the order of time.
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
        return entry_of(found[0]) if found else None

    def by_sha256(self, sha256: str) -> list[Entry]:
        """The works whose picture files have that digest."""
        found = self._ask("SELECT * FROM works WHERE sha256 = ? ORDER BY row", [sha256])
        return [entry_of(row) for row in found]

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
        return count, [entry_of(row) for row in found]

    def facets(self, terms: list[Term], limit: int) -> list[Facet]:
        """What works can be told apart by, under a filter: fields with their values' counts.

        Fields whose values all differ tell nothing and are left out. `date` has decades or, where
        those are more than `limit`, centuries (`index/centuries.py`).

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
        facets = [Facet(name, len(counts), counts[:limit]) for name, counts in fields.items()]
        spans = self._ask(
            "SELECT first_year, last_year, COUNT(*) FROM works "
            f"WHERE {where} AND first_year IS NOT NULL GROUP BY 1, 2",
            values,
        )
        if spans:
            facets.append(Facet(DATE, *by_years(spans, limit)))
        return sorted(facets)

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
                yield entry_of(found)

    def insert(self, entry: Entry) -> None:
        """Add a work, in memory: the file stays as it is."""
        self._to_memory()
        with self._lock, self._connection:
            insert_rows(self._connection, entry)
        self._learn_fields()

    def delete(self, row: int) -> None:
        """Delete a work, in memory: the file stays as it is."""
        self._to_memory()
        with self._lock, self._connection:
            for table, key in KEYS.items():
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
        return entry_of(found[0])

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
    with new_table(path, SCHEMA) as table:
        for row, entry in enumerate(entries):
            if entry.row != row:
                raise ValueError(f"rows must be 0..n-1 in order; received {entry.row} at {row}")
            insert_rows(table, entry)
        rows = ((row, float(x), float(y)) for row, (x, y) in enumerate(places))
        table.executemany("INSERT INTO places VALUES (?, ?, ?)", rows)


def _match(words: str) -> str:
    """Typed words as FTS5 asks for beginnings of words; all must be there."""
    return " ".join('"' + word.replace('"', '""') + '"*' for word in words.split())
