"""What a collection's owner says of the works: a CSV, JSON Lines or Parquet file to rows of text.

    path     of the picture, inside the collection; the only column that must be there
    id       the collection's own; where there is none, it is made of the path
    title, artist, date, class, medium, licence
    ...      any other column is kept and served as it is, and can be filtered by

CSV is UTF-8 or, with its mark at the beginning, UTF-16; its columns are parted by what the first
line has most of: commas, semicolons or tabs. Every row that cannot be used is named, not only the
first.
"""

from __future__ import annotations

import codecs
import csv
import glob
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from index.cells import cells_of
from index.space.errors import BadInput

COLUMNS = ("path", "id", "title", "artist", "date", "class", "medium", "licence")
PARQUET = "pip install 'artkin[parquet]'"
_ROWS_AT_ONCE = 1000


class Row(NamedTuple):
    """A row of a manifest: the line it begins in (of a Parquet file, its number from 1), what it
    says of which picture, and its other cells that are not empty."""

    line: int
    path: str
    cells: dict[str, str]


@dataclass
class Manifest:
    """A manifest as it was read.

    Args:
        path: of the file.
        rows: those that can be used.
        problems: "file:line: what", of those that cannot.
        without_path: what is wrong where there is no column 'path': it may be another program's.
    """

    path: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    without_path: str = ""

    def place(self, line: int) -> str:
        """Where a row is, as problems name it."""
        return f"{self.path}:{line}"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, told by its ending.

    Raises:
        BadInput: no such file, another ending, not a Parquet file, or DuckDB is not installed.
    """
    read = {".csv": _read_csv, ".jsonl": _read_json_lines, ".parquet": _read_parquet}
    if path.suffix.lower() not in read:
        raise BadInput(f"a manifest must end in .csv, .jsonl or .parquet; received {path}")
    if not path.is_file():
        raise BadInput(f"the manifest must be a file; received {path}, which is none")
    manifest = Manifest(path)
    for line, named in read[path.suffix.lower()](manifest):
        try:
            cells = cells_of(named, COLUMNS)
        except ValueError as error:
            manifest.problems.append(f"{manifest.place(line)}: {error}")
            continue
        if "path" in cells:
            manifest.rows.append(Row(line, cells.pop("path"), cells))
        else:
            manifest.problems.append(f"{manifest.place(line)}: every row needs a path")
    return manifest


Named = Iterable[tuple[str, Any]]


def _read_csv(manifest: Manifest) -> Iterator[tuple[int, Named]]:
    text = [line for _, line in _lines(manifest)]
    first = text[0] if text else ""
    reader = csv.reader(text, delimiter=max(",;\t", key=first.count), strict=True)
    table = _table(reader, manifest)
    header = [name.strip() for name in next(table, (1, []))[1]]
    if not _has_path(manifest, header):
        return
    for line, row in table:
        if any(cell.strip() for cell in row[len(header) :]):
            manifest.problems.append(
                f"{manifest.place(line)}: a row must have at most the {len(header)} cells of the "
                f"first line; received {len(row)}; put cells with a {reader.dialect.delimiter!r} "
                "in double quotes"
            )
        else:
            yield line, zip(header, row, strict=False)


def _table(reader: Any, manifest: Manifest) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line they begin in."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            manifest.problems.append(f"{manifest.place(line)}: not a row of CSV: {error}")
            continue
        if row is None:
            return
        if any(row):
            yield line, row


def _has_path(manifest: Manifest, header: list[str]) -> bool:
    if "path" in (name.lower() for name in header):
        return True
    manifest.without_path = (
        f"{manifest.place(1)}: a manifest needs a column 'path'; received "
        f"{', '.join(map(repr, header)) or 'none'}"
    )
    return False


def _read_json_lines(manifest: Manifest) -> Iterator[tuple[int, Named]]:
    for number, line in _lines(manifest):
        if not line.strip():
            continue
        try:
            # Numbers as they stand there; NaN and the like, which are not JSON, are not given.
            found = json.loads(
                line, object_pairs_hook=_object, parse_float=Decimal, parse_constant=lambda _: None
            )
        except (ValueError, RecursionError) as error:
            manifest.problems.append(f"{manifest.place(number)}: not JSON: {error}")
            continue
        if isinstance(found, dict):
            yield number, found.items()
        else:
            manifest.problems.append(
                f"{manifest.place(number)}: a line must be an object, {{...}}; received "
                f"{line.strip()[:60]}"
            )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _lines(manifest: Manifest) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one that is no text is a problem, and left out."""
    data = manifest.path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            manifest.problems.append(f"{manifest.path}: not UTF-16, as its mark says: {error}")
            return
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(True), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            manifest.problems.append(
                f"{manifest.place(number)}: must be UTF-8; byte {error.start} of the line is not"
            )


def _read_parquet(manifest: Manifest) -> Iterator[tuple[int, Named]]:
    try:
        import duckdb  # noqa: PLC0415, an extra
    except ImportError as error:
        raise BadInput(f"{manifest.path}: Parquet needs one more package: {PARQUET}") from error
    # An absolute path, its wildcards escaped, is this file and nothing on a network.
    place = glob.escape(os.path.abspath(manifest.path))
    try:
        with closing(
            duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})
        ) as connection:
            table = connection.execute(
                "SELECT * FROM read_parquet(?, hive_partitioning = false)", [place]
            )
            header = [sys.intern(column[0]) for column in table.description or []]
            if not _has_path(manifest, header):
                return
            numbers = itertools.count(1)
            while rows := table.fetchmany(_ROWS_AT_ONCE):
                for row in rows:
                    yield next(numbers), zip(header, row, strict=True)
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"{manifest.path} must be a Parquet file: {said}") from error
