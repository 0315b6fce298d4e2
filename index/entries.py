"""One work of a release as rows of the catalogue's tables, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from index.dates import years
from index.filters import DATE, GREYSCALE, NO, YES, facet_value, fold

# The columns of `works` stand in the order of the fields of `Entry`; the years are those of its
# date. `facets` is what filters ask, `words` what people type, `places` the map; works added while
# a service runs have no place on it until the next rebuild.
SCHEMA = """
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
# The tables with the column that is a work's row.
KEYS = {"works": "row", "facets": "row", "words": "rowid", "places": "row"}
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


def insert(table: sqlite3.Connection, entry: Entry) -> None:
    """Add a work to the tables."""
    metadata = json.dumps(entry.metadata, ensure_ascii=False)
    span = years(entry.metadata.get(DATE, "")) or (None, None)
    values = (*astuple(entry)[:-1], metadata, *span)
    table.execute("INSERT INTO works VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
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
    yield GREYSCALE, YES if entry.greyscale else NO
    for name, shown in entry.metadata.items():
        if name not in ("title", "class", GREYSCALE, DATE) and len(shown) <= _LONGEST_FACET:
            yield fold(name), shown


def _words(entry: Entry) -> tuple[str, str, str]:
    """Title, artist and the rest as people look for them."""
    rest = {k: v for k, v in entry.metadata.items() if k not in ("title", "artist")}
    # "post_impressionism" is two words to whoever types one of them.
    label = (entry.label or "").replace("_", " ")
    other = " ".join([entry.id, label, *rest.values()])
    return entry.title, entry.metadata.get("artist", ""), other


def entry_of(found: tuple[Any, ...]) -> Entry:
    """The work of a row of `works`."""
    row, id_, name, label, split, sha256, seen, greyscale, width, height, metadata, *_ = found
    return Entry(
        *(row, id_, name, label, split, sha256),
        *(bool(seen), bool(greyscale), width, height, json.loads(metadata)),
    )
