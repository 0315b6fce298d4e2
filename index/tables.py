"""SQLite files: a release's, written once and immutable ever after; a state's, written to."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from index.space.errors import ArtefactError, BadInput

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


def open_writable(path: Path, statements: Iterable[str], what: str) -> sqlite3.Connection:
    """Open a file that is written to, made with its folder if need be; each statement commits.

    Args:
        statements: run first: pragmas and the schema.
        what: the folder, in the words of a message.

    Raises:
        BadInput: the folder cannot be made or written.
        OSError: the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path), ExitStack() as failing:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            failing.callback(connection.close)
            for statement in statements:
                connection.execute(statement)
            failing.pop_all()
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise BadInput(
            f"{what} must be a folder that can be written; received {path.parent}: {error}"
        ) from error
    return connection


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
