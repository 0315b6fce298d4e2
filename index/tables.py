"""SQLite files of a release: written once, whole; read-only and immutable ever after."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from index.space.errors import ArtefactError

_HELPER_BYTES = 64 * 1024  # a write-ahead log's index takes 32 KiB


@contextmanager
def new_table(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A new file with the tables of `schema`; complete when the block ends.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with disk_errors(path), closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(schema)
        yield connection


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """SQLite's errors of writing a file as the system's: the disk is full, or what it says.

    Raises:
        OSError: instead of `sqlite3.OperationalError`.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        # Where not even the file's helper fits, SQLite speaks of input and output.
        is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL or (
            error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR
            and shutil.disk_usage(path.parent).free < _HELPER_BYTES
        )
        number = errno.ENOSPC if is_full else errno.EIO
        text = os.strerror(number) if is_full else str(error)
        raise OSError(number, text, str(path)) from error


def open_table(path: Path) -> sqlite3.Connection:
    """Open a file that nothing writes to any more, without locks or journals beside it.

    Immutable files work on a read-only mount (https://sqlite.org/uri.html).

    Raises:
        ArtefactError: no such file.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"  # as_uri quotes '#', '?' and '%'
    try:
        return sqlite3.connect(uri, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise ArtefactError(f"{path} cannot be opened: {error}") from error


def count_rows(connection: sqlite3.Connection, count: str, path: Path) -> int:
    """The result of a `SELECT COUNT(*)`, which shows that the table is there.

    Raises:
        ArtefactError: it is not, and then the connection is closed.
    """
    try:
        return int(connection.execute(count).fetchone()[0])
    except sqlite3.Error as error:
        connection.close()
        raise ArtefactError(f"{path} is not the table it should be: {error}") from error
